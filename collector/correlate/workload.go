package correlate

import (
	"cmp"
	"encoding/json"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/seawall-security/seawall/collector/alert"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

// objectKey names an object that makes pods, or a pod.
type objectKey struct {
	Cluster, Kind, Namespace, Name string
	// Prefix says that the name is but the beginning of one that was yet to be made: of pods
	// of a controller, where records lack what became of them.
	Prefix bool `json:",omitempty"`
}

func (k objectKey) row() string {
	words := []string{"object", k.Cluster, k.Kind, k.Namespace, k.Name}
	if k.Prefix {
		words = append(words, "prefix")
	}
	return alert.Hash(words...)
}

// objectPayer is whose share an object's memory is of.
type objectPayer struct{ Cluster, Namespace, User string }

func newObjectPool() *pool[objectPayer, objectKey, *manifest] {
	return newPool[objectPayer, objectKey, *manifest](
		func(p objectPayer) string { return p.Cluster + "/" + p.Namespace },
		func(x, y objectPayer) int {
			return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.User, y.User))
		})
}

// manifest is what records said of a pod or of what makes pods. Times are the API server's.
type manifest struct {
	Key objectKey
	UID string `json:",omitempty"`
	// Owner made it; without a name: nobody did but who asked for it.
	Owner    objectKey
	OwnerUID string `json:",omitempty"`
	// Made is the request that created it; nil: it is older than its cluster's audit log here.
	Made *storedRequest `json:",omitempty"`
	// Born is when it was created, as it says itself; 0: it is not known.
	Born int64 `json:",omitempty"`
	// Changes are the last requests that changed what its pods are made from, the first
	// first. Forms are the ways in which that is written now, Generation is its count of
	// changes, both as of the record that was the last at Latest.
	Changes    []storedRequest `json:",omitempty"`
	Forms      []string        `json:",omitempty"`
	Generation int64           `json:",omitempty"`
	Latest     int64
	// Pod is there if the object is a pod.
	Pod *podSpec `json:",omitempty"`
	// User pays for it. Seen says that an agent told of it within the day, Gone when it was
	// deleted.
	User string
	Seen bool  `json:",omitempty"`
	Gone int64 `json:",omitempty"`
	stamp

	size int
	in   *pool[objectPayer, objectKey, *manifest] // that pays; nil: none does yet
}

const (
	kindPod = "Pod"
	// maxOwners bounds the way from a pod up to who asked for it.
	maxOwners = 4
	// maxChanges and maxForms are kept of an object.
	maxChanges = 8
	maxForms   = 4
	// seenKept is how long a pod that an agent told of goes before nobody else, and
	// seenTouched how often that is written down.
	seenKept    = 24 * time.Hour
	seenTouched = time.Hour
	// goneKept is how long what was deleted is remembered: alerts may be late.
	goneKept = recordKept
)

// makers are the resources that make pods, and the kinds that owners call them by.
var makers = map[string]string{
	"pods": kindPod, "replicationcontrollers": "ReplicationController", "replicasets": "ReplicaSet", "deployments": "Deployment",
	"daemonsets": "DaemonSet", "statefulsets": "StatefulSet", "jobs": "Job", "cronjobs": "CronJob",
}

// wireObject is the part of an object's JSON that is read.
type wireObject struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name            string `json:"name"`
		GenerateName    string `json:"generateName"`
		UID             string `json:"uid"`
		Generation      int64  `json:"generation"`
		Created         string `json:"creationTimestamp"`
		OwnerReferences []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			UID        string `json:"uid"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
}

// content is what an event's bodies say of its object.
type content struct {
	head wireObject
	// full is the whole object, as it became where the answer says that; nil: neither body has it.
	full []byte
	// answered says that head is what the object became.
	answered bool
}

func readContent(kind string, e *auditv1.Event) (c content) {
	if readObject(e.Response, kind, &c.head) {
		c.full, c.answered = e.Response, true
		return c
	}
	// Clients may ask for the metadata alone.
	c.answered = readObject(e.Response, "PartialObjectMetadata", &c.head)
	// A patch is no object, but for one that creates it.
	var asked wireObject
	if (e.Verb != "patch" || creates(e)) && readObject(e.Request, kind, &asked) {
		c.full = e.Request
		if !c.answered {
			c.head = asked
		}
	}
	return c
}

func readObject(body []byte, kind string, into *wireObject) bool {
	*into = wireObject{}
	if len(body) > 0 && json.Unmarshal(body, into) == nil && into.Kind == kind {
		return true
	}
	*into = wireObject{}
	return false
}

// creates reports whether the event's request made the object: server-side apply does with a patch.
func creates(e *auditv1.Event) bool { return e.Verb == "create" || e.Code == 201 }

// isDryRun reports whether a create, update or patch was but tried out. The API server reads
// it like this.
func isDryRun(e *auditv1.Event) bool {
	_, query, _ := strings.Cut(e.RequestUri, "?")
	if !strings.Contains(query, "=") {
		return false
	}
	values, _ := url.ParseQuery(query) // what cannot be read of it nobody reads
	return slices.Contains(values["dryRun"], "All")
}

// learnObject takes in what an event says of pods and of what makes them.
func (m *Machine) learnObject(cluster string, e *auditv1.Event) {
	o := e.GetObject()
	kind, concerns := makers[o.GetResource()]
	if !concerns || e.Stage != auditv1.Stage_STAGE_COMPLETE || !granted(e) || o.Subresource != "" && o.Subresource != "ephemeralcontainers" {
		return
	}
	at := unixNano(e.RequestTime)
	if at == 0 {
		return
	}
	key := objectKey{Cluster: cutID(cluster), Kind: kind, Namespace: cutID(o.Namespace), Name: cutName(o.Name)}
	switch e.Verb {
	case "create", "update", "patch":
		if isDryRun(e) {
			return
		}
	case "delete":
		// That of others may be a dry run, which its body says, and that is not recorded. Where
		// it is none, the kubelet or the garbage collector follows, or another one gets the name.
		if isController(e.User.GetName()) {
			m.deleted(key, at)
		}
		return
	default:
		return
	}
	c := readContent(kind, e)
	if key.Name == "" {
		key.Name = cutName(c.head.Metadata.Name)
	}
	if key.Name == "" && isController(e.User.GetName()) {
		key.Name, key.Prefix = cutName(c.head.Metadata.GenerateName), true
	}
	if key.Name == "" {
		return // which it became is not known
	}
	known := m.objects.get(key)
	if known != nil && !key.Prefix {
		switch made := known.madeAt(); {
		case at < made-int64(clockBound), at == made && creates(e):
			return // another one had the name then; or it was told before
		case known.Latest < at && creates(e):
			m.forgetObject(known)
			known = nil
		}
	}
	if known == nil {
		known = &manifest{Key: key, User: cutName(e.User.GetName())}
		m.objects.add(key, known)
	}
	news := known.learn(e, at, c)
	m.touch(&known.stamp)
	m.shelve(known)
	switch {
	case !news:
	case kind == kindPod:
		m.specified(podKey{key.Cluster, key.Namespace, key.Name})
	default:
		m.enrichNamespace(key.Cluster, key.Namespace)
	}
}

// learn takes in what an event of a time says of its object, and reports whether that is
// news to what is said of pods.
func (o *manifest) learn(e *auditv1.Event, at int64, c content) (news bool) {
	head, later := c.head.Metadata, at >= o.Latest
	if head.UID != "" && o.UID != cutID(head.UID) {
		if o.UID != "" && !later {
			return false
		}
		if o.UID != "" { // another one has the name by now
			*o = manifest{Key: o.Key, User: o.User, Seen: o.Seen, stamp: o.stamp, size: o.size, in: o.in}
		}
		o.UID = cutID(head.UID)
	}
	for _, owner := range head.OwnerReferences {
		if owner.Controller {
			o.Owner, o.OwnerUID = objectKey{Cluster: o.Key.Cluster, Kind: cutID(owner.Kind), Namespace: o.Key.Namespace, Name: cutName(owner.Name)}, cutID(owner.UID)
		}
	}
	if created, err := time.Parse(time.RFC3339, head.Created); c.answered && err == nil && plausible(timestamppb.New(created)) {
		o.Born = created.UnixNano()
	}
	byController := isController(e.User.GetName())
	switch {
	case e.Object.Subresource != "":
	case creates(e):
		if o.Made == nil {
			o.Made, news = &storedRequest{tellRequest(rolePodCreated, e, at)}, true
			o.Changes = slices.DeleteFunc(o.Changes, func(r storedRequest) bool { return unixNano(r.Time) < at-int64(clockBound) })
		}
		if byController && o.Owner.Name == "" {
			o.Owner = ownerByName(o.Key)
		}
		if o.Key.Kind != kindPod {
			o.written(templateForm(c.full), head.Generation, c.answered, later, true)
		}
	case o.Key.Kind != kindPod && !byController:
		if o.isChanged(e, c, later) {
			o.change(storedRequest{tellRequest(rolePodChanged, e, at)})
			news = true
		}
	}
	if spec := o.readPod(c); spec != nil && (later || o.Pod == nil) && !reflect.DeepEqual(spec, o.Pod) {
		o.Pod, news = spec, true
	}
	o.Latest = max(o.Latest, at)
	return news
}

// readPod is nil where the object is no pod, or not told whole.
func (o *manifest) readPod(c content) *podSpec {
	if o.Key.Kind != kindPod || c.full == nil {
		return nil
	}
	return readPod(c.full)
}

func (o *manifest) measure() int {
	size := 512 + len(o.Key.Name) + len(o.Owner.Name)
	if o.Made != nil {
		size += proto.Size(o.Made.Request)
	}
	for _, r := range o.Changes {
		size += proto.Size(r.Request)
	}
	if o.Pod != nil {
		size += 48 * (len(o.Pod.Probes) + len(o.Pod.Powers) + len(o.Pod.Debug))
	}
	return size
}

// shelve books what an object takes that was touched. One that an agent told of within the
// day has a place where it goes after all others.
func (m *Machine) shelve(o *manifest) {
	in, size, payer := m.idleObjects, o.measure(), o.payer()
	if o.Seen {
		in = m.seenObjects
	}
	switch {
	case o.in == in:
		in.touch(payer, o.Key)
	default:
		if o.in != nil {
			o.in.remove(payer, o.Key, o.size)
			m.objectBytes -= o.size
			o.size = 0
		}
		in.add(payer, o.Key, o)
		o.in = in
	}
	in.resize(payer, size-o.size)
	m.objectBytes += size - o.size
	o.size = size
	m.objects.touch(o.Key)
	m.seen.keep(o.Key, o, o.Seen)
	m.gone.keep(o.Key, o, o.Gone != 0)
	m.movedObjects[o.Key] = true
}

func (o *manifest) payer() objectPayer { return objectPayer{o.Key.Cluster, o.Key.Namespace, o.User} }

func (m *Machine) forgetObject(o *manifest) {
	o.in.remove(o.payer(), o.Key, o.size)
	m.objectBytes -= o.size
	m.objects.remove(o.Key)
	m.seen.remove(o.Key)
	m.gone.remove(o.Key)
	m.movedObjects[o.Key] = true
}

// deleted notes that an object is on its way out: it is remembered for a while, for alerts
// may be late, unless another one gets its name.
func (m *Machine) deleted(key objectKey, at int64) {
	if o := m.objects.get(key); o != nil && at >= o.madeAt() && at > o.Gone {
		o.Gone, o.Seen, o.Latest = at, false, max(o.Latest, at)
		m.touch(&o.stamp)
		m.shelve(o)
	}
}

// alive notes that an agent told of a pod: it, and what makes it, goes after what nobody
// told of, and is remembered however old it is. So does one whose deletion was said, but
// which goes on.
func (m *Machine) alive(pod podKey, uid string, at time.Time) {
	o := m.spec(pod, uid)
	for range maxOwners {
		if o == nil || o.Seen && m.place.Now-o.At <= int64(seenTouched) || o.Gone != 0 && at.UnixNano() <= o.Gone {
			return
		}
		o.Seen, o.Gone = true, 0
		m.touch(&o.stamp)
		m.shelve(o)
		o = m.objects.get(o.Owner)
	}
}

// sweepObjects forgets what is over.
func (m *Machine) sweepObjects(before func(time.Duration) int64) {
	for _, o := range m.gone.all() {
		if o.At >= before(goneKept) {
			break
		}
		m.forgetObject(o)
	}
	for _, o := range m.seen.all() {
		if o.At >= before(seenKept) {
			break
		}
		o.Seen = false
		m.touch(&o.stamp)
		m.shelve(o)
	}
	for _, o := range m.objects.all() {
		if o.At >= before(forget) {
			break
		}
		m.forgetObject(o)
	}
}

// evictObjects keeps the bound.
func (m *Machine) evictObjects() {
	if m.objectBytes <= m.limits.ObjectBytes {
		return
	}
	drop := func(o *manifest) {
		m.stats.Forgotten++
		m.forgetObject(o)
	}
	m.idleObjects.relieve(m.objectBytes-room(m.limits.ObjectBytes), drop)
	if free := m.objectBytes - room(m.limits.ObjectBytes); free > 0 {
		m.seenObjects.relieve(free, drop)
	}
}

// spec is what is known of a pod; nil: nothing is, or it is of another one that had the
// name. Without a uid it may be that.
func (m *Machine) spec(key podKey, uid string) *manifest {
	of := objectKey{Cluster: key.Cluster, Kind: kindPod, Namespace: key.Namespace, Name: key.Name}
	if o := m.objects.get(of); o != nil && (o.Pod != nil || o.Made != nil) {
		if o.Pod == nil || uid != "" && o.UID != "" && o.UID != uid {
			return nil
		}
		return o
	}
	n := len(key.Name) - generatedLetters
	if n <= 0 || key.Name[n-1] != '-' || strings.Trim(key.Name[n:], generatedAlphabet) != "" {
		return nil
	}
	of.Name, of.Prefix = key.Name[:n], true
	if o := m.objects.get(of); o != nil && o.Pod != nil {
		return o
	}
	return nil
}

// The API server makes names of so many of these behind the beginning it is given.
const (
	generatedLetters  = 5
	generatedAlphabet = "bcdfghjklmnpqrstvwxz2456789"
)

// specified has sessions of a pod looked at again of which it became known what it runs.
func (m *Machine) specified(key podKey) {
	p := m.pods[key]
	if p == nil {
		return
	}
	for _, s := range p.sessions {
		switch s.Attribution {
		case waiting, unavailable:
			m.look(s, m.place.Now)
		case unattributed:
			m.look(s, m.place.Now)
			if !m.isProbe(s) {
				m.entryAlert(s) // it was not told while it might have been a probe
			}
		}
	}
	m.enrichPod(key)
}
