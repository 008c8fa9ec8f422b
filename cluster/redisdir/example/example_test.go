package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// asExample, in the environment, has this test binary be the example.
const asExample = "ROLLCALL_CLUSTER_EXAMPLE"

func TestMain(m *testing.M) {
	if os.Getenv(asExample) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The demo tells its whole story: a push-out and a message across nodes, a killed node, a store that is started again.
func TestTheDemoTellsItsStory(t *testing.T) {
	testkit.RedisServer(t) // the demo starts it
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	demo := exec.CommandContext(ctx, os.Args[0], "-demo")
	demo.Env = append(os.Environ(), asExample+"=1")
	b, err := demo.CombinedOutput()
	out := string(b)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	at := 0
	for _, want := range []string{
		"alice is online", `bob answers "got it"`, "alice has left: PushedOut", "I am back after", `bob answers "got it"`,
		"carol is online", `bob answers "got it"`, `alice answers "got it"`,
	} {
		i := strings.Index(out[at:], want)
		if i < 0 {
			t.Fatalf("the demo does not tell %q in its place:\n%s", want, out)
		}
		at += i
	}
}

// startStore starts a server for nodes that are processes of this test binary.
func startStore(t *testing.T) *demo {
	t.Helper()
	testkit.RedisServer(t)
	t.Setenv(asExample, "1") // for the nodes
	d := &demo{nodes: make(map[string]*demoNode), folder: t.TempDir(), port: testkit.Must(freePort())}
	t.Cleanup(func() { _ = d.end() })
	if err := d.startRedis(); err != nil {
		t.Fatal(err)
	}
	return d
}

// A client can ask where a user is, and have the user thrown out wherever that is.
func TestQueriesGoOverAllNodes(t *testing.T) {
	d := startStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	if err := d.startNodes(ctx, "a", "b"); err != nil {
		t.Fatal(err)
	}
	logOn := func(user, node string) *client.Client {
		c := testkit.Must(client.Dial(ctx, d.nodes[node].addr, client.Config{UserID: user, Device: 3, Reconnect: client.Reconnect{Max: -1}}))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ann, bob := logOn("ann", "a"), logOn("bob", "b")
	var answered string
	ask := func(typ uint16, body string, into any) {
		t.Helper()
		m, err := ann.Request(ctx, typ, []byte(body))
		if err == nil {
			err = json.Unmarshal(m.Body, into)
		}
		if err != nil {
			t.Fatal(err)
		}
		answered = string(m.Body)
	}
	written := func(want string) { // as other programs read it
		t.Helper()
		if before, after, ok := strings.Cut(answered, `,"missing":[],"as_of":"`); !ok || before != want || !strings.HasSuffix(after, `"}`) {
			t.Errorf("the answer is %s", answered)
		}
	}
	var where sessionAnswer
	if ask(typeSessions, "bob", &where); len(where.Sessions) != 1 || where.Sessions[0] != (sessionPlace{"b", 3}) || len(where.Missing) != 0 || where.AsOf.IsZero() {
		t.Errorf("bob is at %+v", where)
	}
	written(`{"sessions":[{"node":"b","device":3}]`)
	var counts countAnswer
	if ask(typeCounts, "", &counts); counts.Users != 2 || counts.Sessions != 2 || len(counts.Missing) != 0 {
		t.Errorf("the counts are %+v", counts)
	}
	written(`{"users":2,"sessions":2`)
	seen := make(map[string]string)
	for page := (pageAnswer{}); ; {
		ask(typePage, page.Next, &page)
		for _, u := range page.Users {
			seen[u.User] += strings.Join(u.Nodes, " ")
		}
		if page.Next == "" {
			break
		}
	}
	if !strings.HasPrefix(answered, `{"users":[`) || !strings.Contains(answered, `],"next":"","missing":[],"as_of":"`) {
		t.Errorf("the answer is %s", answered)
	}
	if len(seen) != 2 || seen["ann"] != "a" || seen["bob"] != "b" {
		t.Errorf("the pages have %v", seen)
	}
	var gone kickAnswer
	if ask(typeKick, "bob", &gone); len(gone.Sessions) != 1 || gone.Sessions[0] != (kicked{"b", protocol.OutcomeTold.String()}) || len(gone.Missing) != 0 {
		t.Errorf("the kick's outcome is %+v", gone)
	}
	written(`{"sessions":[{"node":"b","outcome":"` + protocol.OutcomeTold.String() + `"}]`)
	testkit.Receive(t, "the end of bob's client", bob.Done())
	if ask(typeKick, "bob", &gone); len(gone.Sessions) != 0 {
		t.Errorf("a kick of a user who is not there has the outcome %+v", gone)
	}
}

// With -sentinel a node finds its store by the sentinels; with -tls-client-ca a client without a certificate of the authority stays out.
func TestANodeFindsItsStoreBySentinelAndAsksForCertificates(t *testing.T) {
	d := startStore(t)
	ca := testca.New(t)
	cert, key := ca.Files(ca.Issue("node"))
	addr := testkit.FreeAddr(t)
	node := exec.Command(os.Args[0], "-redis", testkit.Sentinel(t, "127.0.0.1:"+d.port), "-sentinel", "users", "-lease", "1s", "-node", "a",
		"-addr", addr, "-tls-cert", cert, "-tls-key", key, "-tls-client-ca", ca.File())
	var told testkit.Output
	node.Stderr = &told
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = node.Process.Kill()
		_ = node.Wait()
		if t.Failed() {
			t.Log(told.String())
		}
	})
	testkit.Eventually(t, "the node listens", func() bool { return strings.Contains(told.String(), "listening on") })
	cfg := client.Config{UserID: "ann", Reconnect: client.Reconnect{Max: -1}, TLS: &tls.Config{RootCAs: ca.Pool}}
	if c, err := client.Dial(t.Context(), addr, cfg); err == nil {
		_ = c.Close()
		t.Error("a client without a certificate came in")
	}
	cfg.TLS.Certificates = []tls.Certificate{ca.Issue("ann")}
	c := testkit.Must(client.Dial(t.Context(), addr, cfg))
	defer c.Close()
	if m, err := c.Request(t.Context(), 7, []byte("hello")); err != nil || string(m.Body) != "hello" {
		t.Errorf("got %v, %v", m, err)
	}
}
