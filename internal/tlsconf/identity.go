package tlsconf

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Role is what a part of Seawall is to the others.
type Role string

const (
	Agent     Role = "agent"
	Collector Role = "collector"
	Client    Role = "client" // SIEM readers and operators
)

// Access is what a client may do.
type Access string

const (
	Viewer   Access = "viewer"
	Operator Access = "operator"
)

// Identity is what a certificate of ours says about its holder.
type Identity struct {
	Cluster string
	Role    Role
	// Name is an agent's UUID or a client's name. A collector has none.
	Name string
	// Access is a client's; others have none.
	Access Access
}

const (
	scheme      = "seawall://"
	maxIdentity = 256 // above the longest that the parts allow
)

var (
	// A DNS label: it becomes the host of a URI and a token of the event log's subjects.
	clusterName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	clientName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	// Version 4 of RFC 9562, in small letters only: one agent, one spelling.
	agentID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
)

// CheckCluster says what is wrong with a cluster's name.
func CheckCluster(name string) error {
	if !clusterName.MatchString(name) {
		return fmt.Errorf("cluster name %.80q: want 1 to 63 of a-z, 0-9 and -, no - at the ends", name)
	}
	return nil
}

// Check says what is wrong with an identity.
func (id Identity) Check() error {
	if err := CheckCluster(id.Cluster); err != nil {
		return err
	}
	switch id.Role {
	case Agent:
		if !agentID.MatchString(id.Name) {
			return fmt.Errorf("agent id %.80q is no random UUID in small letters", id.Name)
		}
	case Collector:
		if id.Name != "" {
			return fmt.Errorf("a collector has no name, this one has %.80q", id.Name)
		}
	case Client:
		if !clientName.MatchString(id.Name) {
			return fmt.Errorf("client name %.80q: want 1 to 63 of A-Z, a-z, 0-9, ., _ and -, the first a letter or digit", id.Name)
		}
		if id.Access != Viewer && id.Access != Operator {
			return fmt.Errorf("client role %.80q is neither %s nor %s", string(id.Access), Viewer, Operator)
		}
		return nil
	default:
		return fmt.Errorf("role %.80q is none of %s, %s and %s", string(id.Role), Agent, Collector, Client)
	}
	if id.Access != "" {
		return fmt.Errorf("only clients have a role of access, this %s has %.80q", id.Role, string(id.Access))
	}
	return nil
}

// String is the identity's one spelling, a URI.
func (id Identity) String() string {
	text := scheme + id.Cluster + "/" + string(id.Role)
	if id.Name != "" {
		text += "/" + id.Name
	}
	if id.Access != "" {
		text += "?role=" + string(id.Access)
	}
	return text
}

// URI is what goes into a certificate.
func (id Identity) URI() (*url.URL, error) {
	if err := id.Check(); err != nil {
		return nil, err
	}
	return url.Parse(id.String())
}

// ParseIdentity takes exactly what String prints of an identity that passes Check.
func ParseIdentity(text string) (Identity, error) {
	if len(text) > maxIdentity {
		return Identity{}, fmt.Errorf("identity of %d bytes is longer than %d", len(text), maxIdentity)
	}
	rest, ours := strings.CutPrefix(text, scheme)
	if !ours {
		return Identity{}, fmt.Errorf("identity %.80q does not begin with %s", text, scheme)
	}
	cluster, path, _ := strings.Cut(rest, "/")
	path, access, asked := strings.Cut(path, "?role=")
	role, name, named := strings.Cut(path, "/")
	id := Identity{Cluster: cluster, Role: Role(role), Name: name, Access: Access(access)}
	if err := id.Check(); err != nil {
		return Identity{}, fmt.Errorf("identity %.80q: %w", text, err)
	}
	if named != (name != "") || asked != (access != "") {
		return Identity{}, fmt.Errorf("identity %.80q has an empty part at its end", text)
	}
	return id, nil
}

var errURICount = errors.New("its URI names are not exactly one")

// IdentityOf reads the identity that a certificate gives its holder. It does
// not ask who signed it.
func IdentityOf(certificate *x509.Certificate) (Identity, error) {
	if len(certificate.URIs) != 1 {
		return Identity{}, errURICount
	}
	return ParseIdentity(certificate.URIs[0].String())
}
