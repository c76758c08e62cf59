package auditrule

import (
	"slices"
	"strings"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// userClass is what kind of user one is, by name: names that begin with system: are the
// API server's to give.
type userClass int

const (
	person userClass = iota
	serviceAccount
	node
	system
	anonymous
)

func classOf(u *auditv1.User) userClass {
	name := u.GetName()
	switch {
	case name == "system:anonymous" || name == "" || slices.Contains(u.GetGroups(), "system:unauthenticated"):
		return anonymous
	case strings.HasPrefix(name, accountPrefix):
		return serviceAccount
	case strings.HasPrefix(name, "system:node:"):
		return node
	case strings.HasPrefix(name, "system:"):
		return system
	}
	return person
}

const accountPrefix = "system:serviceaccount:"

// account is the namespace and the name of a service account; empty: it is none.
func account(user string) (namespace, name string) {
	rest, ok := strings.CutPrefix(user, accountPrefix)
	if !ok {
		return "", ""
	}
	namespace, name, _ = strings.Cut(rest, ":")
	return namespace, name
}
