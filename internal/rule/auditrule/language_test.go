package auditrule_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

const podBody = `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"hostPID":true,"replicas":3,
	"containers":[{"name":"a","image":"registry.example.com:5000/shop/web:1.2@sha256:abc","securityContext":{"privileged":true},"command":["sh","-c","x"]}],
	"initContainers":[{"name":"b","image":"busybox"}],
	"volumes":[{"name":"v","hostPath":{"path":"/var//run/../run/"}}]}}`

// certificateRequest is what somebody sends who wants to be one of a group.
func certificateRequest(t *testing.T, name, group string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: name, Organization: []string{group}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// TestConditions says of each expression whether it holds for one request.
func TestConditions(t *testing.T) {
	asked := certificateRequest(t, "mallory", "system:masters")
	for _, test := range []struct {
		condition string
		want      bool
	}{
		{`as_became && !as_became == false`, true},
		{`!actor.is_control_plane() && "job-controller".is_controller() && !"web".is_controller() && !manifest.nothing.is_controller()`, true},
		{`verb == "create" && object.resource == "pods" && object.namespace == "shop"`, true},
		{`code == 201u && allowed && !denied`, true},
		{`actor.name == "alice" && "developers" in actor.groups`, true},
		{`actor.is_person() && !actor.is_system()`, true},
		{`source_ip == "10.0.0.7" && source_ip.is_private() && source_ip.in_network("10.0.0.0/8")`, true},
		{`source_ip.in_network(["192.168.0.0/16", "10.0.0.7"])`, true},
		{`source_ip.in_network("10.0.1.0/24") || "".is_private() || "x".in_network("0.0.0.0/0")`, false},
		{`manifest.spec.hostPID == true`, true},
		{`manifest.spec.hostIPC == true`, false},
		{`manifest.spec.no.such.thing == "x" || manifest.spec.containers[7].image == "x"`, false},
		{`has(manifest.spec.hostPID) && !has(manifest.spec.hostIPC) && has(manifest) && !has(request)`, true},
		{`impersonated.name == "" && impersonated.extra.get("x") == "" && size(impersonated.groups) == 0 && impersonated.is_anonymous()`, true},
		{`entry.pod == "" && size(entry.command) == 0 && !entry.tty && event.entry.pod == "" && event.impersonated.name == ""`, true},
		{`has(object) && !has(entry) && !has(impersonated)`, true},
		{`manifest.spec.replicas == 3 && number(manifest.spec.replicas) > 2.5 && number(manifest.nothing) == 0.0`, true},
		{`pod.hostPID == true && size(containers) == 2`, true},
		{`containers.exists(c, c.securityContext.privileged == true)`, true},
		{`containers.all(c, c.securityContext.privileged == true)`, false},
		{`containers.exists(c, c.command == ["sh", "-c", "x"] && "sh" in c.command)`, true},
		{`containers.exists(c, image(c.image).registry == "registry.example.com:5000" && image(c.image).tag == "1.2" && image(c.image).digest == "sha256:abc")`, true},
		{`containers.exists(c, image(c.image).repository == "library/busybox" && image(c.image).registry == "docker.io")`, true},
		{`pod.volumes.exists(v, v.hostPath.path.clean() == "/var/run")`, true},
		{`pod.volumes.exists(v, "/var/run/docker.sock".under(v.hostPath.path))`, true},
		{`pod.volumes.exists(v, v.hostPath.path.under("/etc") || v.nothing.under("/"))`, false},
		{`manifest.nothing.startsWith("") || manifest.nothing.contains("") || manifest.nothing.matches(".*")`, false},
		{`manifest.metadata.name.startsWith("w") && manifest.metadata.name.matches("^w.b$") && user_agent.startsWith("kubectl/")`, true},
		{`"x".startsWith(manifest.nothing)`, false},
		{`manifest.nothing.exists(x, true)`, false},
		{`manifest.nothing.all(x, false) && size(manifest.nothing) == 0`, true},
		{`manifest.metadata.labels.exists(name, name == "app" && manifest.metadata.labels[name] == "web")`, true},
		{`"app" in manifest.metadata.labels && !("x" in manifest.metadata.labels) && !("x" in manifest.nothing)`, true},
		{`query.dryRun == "All" && path == "/api/v1/namespaces/shop/pods" && !has(query.limit)`, true},
		{`annotations.get("none") == "" && source_ips.at(0) == "203.0.113.9" && source_ips.at(9) == "" && user.extra.get("x") == ""`, true},
		{`text(manifest.spec.containers.map(c, c.name)) == "a" && containers.map(c, c.name).join("+") == "a+b"`, true},
		{`text(manifest.spec.replicas) == "3" && text(manifest.nothing) == "" && text(code) == "201" && text(pod.hostPID) == "true"`, true},
		{`cel.bind(c, containers[0], c.name == "a" && image(c.image).name == "web")`, true},
		{`named(manifest.metadata.name) && named("web")`, true},
		{`object.name in names`, true},
		{`text(manifest.metadata) == "{\"labels\":{\"app\":\"web\"},\"name\":\"web\"}"`, true},
		{`certificate_request(csr).common_name == "mallory" && certificate_request(csr).organizations.exists(o, o == "system:masters")`, true},
		{`has(certificate_request("bm9uZQ==")) || certificate_request(manifest.nothing).common_name == "x"`, false},
		{`event.request_time == request_time && request_time < timestamp("2027-01-01T00:00:00Z")`, true},
		{`"/a/b.tar.gz".base() == "b.tar.gz" && "/a/b.tar.gz".ext() == ".gz" && "AbC".lower() == "abc"`, true},
	} {
		t.Run(test.condition, func(t *testing.T) {
			test.condition = strings.ReplaceAll(test.condition, "csr", strconv.Quote(asked))
			file := "lists: {names: [web, db]}\nfunctions: {named: {of: n, is: n == \"web\"}}\n" + oneRule("condition: |\n  "+test.condition)
			m := matcher(t, file)
			if got := len(m.Match(create("1", podBody), day)) == 1; got != test.want {
				t.Errorf("holds: %v, want %v", got, test.want)
			}
			for _, s := range m.Stats() {
				if s.Errors > 0 {
					t.Errorf("%d errors", s.Errors)
				}
			}
		})
	}
}

func TestManifest(t *testing.T) {
	of := func(verb, resource, request, response string) *auditv1.Event {
		e := create("1", response)
		e.Verb, e.Object.Resource, e.Request = verb, resource, []byte(request)
		return e
	}
	const template = `{"kind":"Deployment","spec":{"template":{"spec":{"containers":[{"name":"a","image":"bad"}]}}}}`
	for name, test := range map[string]struct {
		event *auditv1.Event
		want  bool
	}{
		"pod":                           {of("create", "pods", "", `{"kind":"Pod","spec":{"containers":[{"image":"bad"}]}}`), true},
		"pod as asked for":              {of("create", "pods", `{"kind":"Pod","spec":{"initContainers":[{"image":"bad"}]}}`, ""), true},
		"refused: the response is none": {of("create", "pods", `{"kind":"Pod","spec":{"ephemeralContainers":[{"image":"bad"}]}}`, `{"kind":"Status"}`), true},
		"workload":                      {of("update", "deployments", "", template), true},
		"cron job":                      {of("create", "cronjobs", `{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"image":"bad"}]}}}}}}`, ""), true},
		"strategic merge patch":         {of("patch", "daemonsets", `{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"bad"}]}}}}`, ""), true},
		"patch that deletes":            {of("patch", "daemonsets", `{"spec":{"template":{"spec":{"containers":[{"image":"bad","$patch":"delete"}]}}}}`, ""), false},
		"JSON patch, with what became":  {of("patch", "deployments", `[{"op":"add","path":"/x","value":1}]`, template), true},
		"JSON patch of a field": {of("patch", "deployments",
			`[{"op":"test","path":"/a","value":1},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"bad"}]`, ""), true},
		"JSON patch that adds":    {of("patch", "pods", `[{"op":"add","path":"/spec/containers/-","value":{"image":"bad"}}]`, ""), true},
		"JSON patch that removes": {of("patch", "pods", `[{"op":"remove","path":"/spec/containers/0","value":{"image":"bad"}}]`, ""), false},
		"JSON patch that moves": {of("patch", "pods",
			`[{"op":"add","path":"/x","value":[{"image":"bad"}]},{"op":"move","from":"/x","path":"/spec/containers"}]`, ""), true},
		"JSON patch that copies": {of("patch", "deployments",
			`[{"op":"add","path":"/a~1b/0","value":{"image":"bad"}},{"op":"copy","from":"/a~1b/0","path":"/spec/template/spec/containers/-"}]`, ""), true},
		"JSON patch that copies what is not known": {of("patch", "pods", `[{"op":"copy","from":"/x","path":"/spec/containers"}]`, ""), false},
		"pod, answered by its metadata": {of("create", "pods", `{"kind":"Pod","spec":{"containers":[{"image":"bad"}]}}`,
			`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{}}`), true},
		"pod, answered by a table": {of("update", "pods", `{"kind":"Pod","spec":{"containers":[{"image":"bad"}]}}`, `{"kind":"Table","apiVersion":"meta.k8s.io/v1"}`), true},
		"patch, answered by metadata": {of("patch", "deployments", `{"spec":{"template":{"spec":{"containers":[{"image":"bad"}]}}}}`,
			`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","spec":{}}`), true},
		"JSON patch, answered by metadata": {of("patch", "deployments", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"bad"}]`,
			`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","spec":{}}`), true},
		"patch, the object became another": {of("patch", "deployments", `{"spec":{"template":{"spec":{"containers":[{"image":"bad"}]}}}}`,
			`{"kind":"Deployment","apiVersion":"apps/v1","spec":{"template":{"spec":{"containers":[{"image":"good"}]}}}}`), false},
		"list":                  {of("list", "pods", "", `{"kind":"PodList","spec":{"containers":[{"image":"bad"}]}}`), false},
		"options of a deletion": {of("delete", "pods", `{"kind":"DeleteOptions","spec":{"containers":[{"image":"bad"}]}}`, ""), false},
		"no pod":                {of("create", "services", `{"kind":"Service","spec":{"containers":[{"image":"bad"}]}}`, ""), false},
		"no JSON":               {of("create", "pods", `{"kind`, "x"), false},
		"wrong types":           {of("create", "pods", `{"spec":[{"containers":3}]}`, `{"spec":"x"}`), false},
		"wrong elements":        {of("create", "pods", `{"spec":{"containers":[3,"x",null,[]]}}`, ``), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := matcher(t, oneRule(`condition: containers.exists(c, c.image == "bad")`))
			if got := len(m.Match(test.event, day)) == 1; got != test.want {
				t.Errorf("matches: %v, want %v", got, test.want)
			}
			if errs := m.Stats()[0].Errors; errs != 0 {
				t.Errorf("%d errors", errs)
			}
		})
	}
}

// TestEmptyEvent is that every field of the schema can be read of an event that has none.
func TestEmptyEvent(t *testing.T) {
	e := &auditv1.Event{Stage: auditv1.Stage_STAGE_COMPLETE, Code: 200}
	var read func(path string, d protoreflect.MessageDescriptor, depth int)
	read = func(path string, d protoreflect.MessageDescriptor, depth int) {
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			name := string(f.Name())
			if path != "" {
				name = path + "." + name
			}
			if f.Message() != nil && !f.IsMap() && !f.IsList() && depth < 2 && f.Message().ParentFile() == d.ParentFile() {
				read(name, f.Message(), depth+1)
			}
			if name == "request" || name == "response" {
				continue // JSON
			}
			for _, text := range []string{name, "event." + name} {
				m := matcher(t, oneRule("condition: '"+text+" == "+text+"'"))
				if n := len(m.Match(e, day)); n != 1 {
					t.Errorf("%s: %d matches, %d errors", text, n, m.Stats()[0].Errors)
				}
			}
		}
	}
	read("", e.ProtoReflect().Descriptor(), 0)
}

// Of many copies only so many are made.
func TestEndlessPatch(t *testing.T) {
	patch := `[{"op":"add","path":"/a","value":[` + strings.TrimSuffix(strings.Repeat("1,", 60_000), ",") + `]}`
	for i := range 900 {
		patch += fmt.Sprintf(`,{"op":"copy","from":"/a","path":"/b%d"}`, i)
	}
	patch += "]"
	e := create("1", "")
	e.Verb, e.Request = "patch", []byte(patch)
	m := matcher(t, oneRule(`condition: size(manifest.a) == 60000 && has(manifest.b0) && !has(manifest.b1) && !has(manifest.b899)`))
	if len(m.Match(e, day)) != 1 {
		t.Error("a patch that doubles itself is put together as a whole, or not at all")
	}
}

func TestUsers(t *testing.T) {
	for name, test := range map[string]struct {
		user *auditv1.User
		want string
	}{
		"person":                      {&auditv1.User{Name: "alice"}, "person"},
		"administrator of kubeadm":    {&auditv1.User{Name: "kubernetes-admin", Groups: []string{"system:masters"}}, "person"},
		"administrator of k3s":        {&auditv1.User{Name: "system:admin", Groups: []string{"system:masters", "system:authenticated"}}, "person"},
		"administrator of OpenShift":  {&auditv1.User{Name: "system:admin"}, "person"},
		"all power under a name":      {&auditv1.User{Name: "system:backdoor", Groups: []string{"system:masters"}}, "person"},
		"API server, of all power":    {&auditv1.User{Name: "system:apiserver", Groups: []string{"system:masters"}}, "system control plane"},
		"scheduler":                   {&auditv1.User{Name: "system:kube-scheduler"}, "system control plane"},
		"something of the system":     {&auditv1.User{Name: "system:bootstrap:abcdef"}, "system"},
		"add-ons of EKS":              {&auditv1.User{Name: "eks:addon-manager"}, "system control plane"},
		"AKS":                         {&auditv1.User{Name: "aksService", Groups: []string{"system:masters"}}, "system control plane"},
		"GKE":                         {&auditv1.User{Name: "system:gke-controller-manager"}, "system control plane"},
		"node":                        {&auditv1.User{Name: "system:node:a"}, "node"},
		"account":                     {&auditv1.User{Name: "system:serviceaccount:shop:web"}, "account"},
		"controller":                  {&auditv1.User{Name: "system:serviceaccount:kube-system:job-controller"}, "account control plane"},
		"controller's name elsewhere": {&auditv1.User{Name: "system:serviceaccount:shop:job-controller"}, "account"},
		"controller-like name":        {&auditv1.User{Name: "system:serviceaccount:kube-system:evil-controller"}, "account"},
		"controller of a namespace":   {&auditv1.User{Name: "system:serviceaccount:openshift-infra:build-controller"}, "account"}, // which anybody can make elsewhere
		"anonymous, claiming all":     {&auditv1.User{Name: "x", Groups: []string{"system:unauthenticated", "system:masters"}}, "anonymous"},
	} {
		m := matcher(t, oneRule(`summary: |
  (actor.is_person() ? "person" : "") + (actor.is_system() ? "system" : "") + (actor.is_node() ? "node" : "") + (actor.is_service_account() ? "account" : "") +
  (actor.is_anonymous() ? "anonymous" : "") + (actor.is_control_plane() ? " control plane" : "")`))
		e := create("1", podBody)
		e.User = test.user
		if got := m.Match(e, day); len(got) != 1 || got[0].Summary != test.want {
			t.Errorf("%s is %v, want %s", name, got, test.want)
		}
	}
}
