package deploy

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/seawall-security/seawall/internal/audit"
	"github.com/seawall-security/seawall/internal/testkube"
	auditv1 "github.com/seawall-security/seawall/proto/audit/v1"
)

const (
	shop   = "/api/v1/namespaces/shop"
	twoPod = `{"metadata":{"name":"two"},"spec":{"nodeName":"node-1","containers":[{"name":"app","image":"registry.test/app:1"},{"name":"sidecar","image":"registry.test/sidecar:1"}]}}`
)

// entries are addresses by which somebody asks to get into a pod's container, and what the
// API server asks the kubelet for: that is what happens, whatever the address seems to say.
var entries = []struct{ query, kubelet string }{
	{"command=id&container=app&container=sidecar&stdout=true", "/exec/shop/two/app?command=id&output=1"},
	{"command=id&Container=sidecar&container=app&stdout=true", "/exec/shop/two/app?command=id&output=1"},
	{"c%6Fmmand=i%64&c%6Fntainer=sidecar&stdout=true", "/exec/shop/two/sidecar?command=id&output=1"},
	{"command=sh+-c&command=&command=a%2Bb&container=app&stdout=true", "/exec/shop/two/app?command=sh+-c&command=&command=a%2Bb&output=1"},
	// What is between two & and not well-formed does not count.
	{"command=id;container=sidecar&container=app&stdout=true", "/exec/shop/two/app?output=1"},
	{"command=id&container=app&stdout=true&command=%zz", "/exec/shop/two/app?command=id&output=1"},
	// Everything is true but 0 and false, and the first one counts.
	{"command=id&container=app&tty=TRUE&stdin=on", "/exec/shop/two/app?command=id&input=1&tty=1"},
	{"command=id&container=app&tty=yes", "/exec/shop/two/app?command=id&tty=1"},
	{"command=id&container=app&stdout=true&tty", "/exec/shop/two/app?command=id&output=1&tty=1"},
	{"command=id&container=app&stdout=true&tty=", "/exec/shop/two/app?command=id&output=1&tty=1"},
	{"command=id&container=app&stdout=true&tty=f", "/exec/shop/two/app?command=id&output=1&tty=1"},
	{"command=id&container=app&stdout=true&tty=%20false", "/exec/shop/two/app?command=id&output=1&tty=1"},
	{"command=id&container=app&stdout=true&tty=0", "/exec/shop/two/app?command=id&output=1"},
	{"command=id&container=app&stdout=true&tty=FaLSE", "/exec/shop/two/app?command=id&output=1"},
	{"command=id&container=app&stdout=true&tty=true&tty=false", "/exec/shop/two/app?command=id&output=1&tty=1"},
	{"command=id&container=app&stdout=true&tty=false&tty=true", "/exec/shop/two/app?command=id&output=1"},
	{"command=id&container=app&stdout=true&stderr=true&tty=true", "/exec/shop/two/app?command=id&error=1&output=1&tty=1"},
}

// enter asks for all of them.
func enter(t *testing.T, client *testkube.Client, kubelet *testkube.Kubelet) {
	t.Helper()
	client.Must(t, "POST", shop+"/pods", twoPod)
	for _, e := range entries {
		before := len(kubelet.Asked())
		code, stream := client.Exec(t, shop+"/pods/two/exec?"+e.query)
		stream.Close()
		if got := kubelet.Asked()[before:]; !slices.Equal(got, []string{e.kubelet}) {
			t.Errorf("%s: %d, the kubelet is asked for %q, want %q", e.query, code, got, e.kubelet)
		}
	}
}

// entered checks that what is made of the API server's record is what the kubelet was asked for.
func entered(t *testing.T, log string) {
	t.Helper()
	found := map[string]*auditv1.Entry{}
	for line := range strings.Lines(log) {
		if e, err := audit.Decode([]byte(line)); err == nil && e.GetEntry() != nil {
			_, query, _ := strings.Cut(e.RequestUri, "?")
			found[query] = e.Entry
		}
	}
	for _, e := range entries {
		path, query, _ := strings.Cut(e.kubelet, "?")
		asked, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		want := &auditv1.Entry{Namespace: "shop", Pod: "two", Container: path[strings.LastIndexByte(path, '/')+1:],
			Command: asked["command"], Tty: asked.Has("tty"), Stdin: asked.Has("input")}
		if diff := cmp.Diff(want, found[e.query], protocmp.Transform()); diff != "" {
			t.Errorf("%s: (-the kubelet was asked, +the record is read)\n%s", e.query, diff)
		}
	}
}
