package redisdir_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/redisdir"
	"github.com/rollcall-go/rollcall/internal/clustertest"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Nodes reach a server over TLS, with client certificates, as a user who may do no more than docs/cluster.md says.
func TestALimitedUserOverTLSIsEnough(t *testing.T) {
	ca := testca.New(t)
	cert, key := ca.Files(ca.Issue("localhost"))
	_, port, _ := net.SplitHostPort(testkit.FreeAddr(t))
	s := startServer(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca.File(), "--tls-auth-clients", "yes")
	if err := s.do(s.client(), documentedACL(t)); err != nil {
		t.Fatal(err)
	}

	ctx, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	var nodes []*usermgr.Manager
	for _, name := range []string{"a", "b"} {
		client := testkit.Must(rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{"localhost:" + port}, Username: "gate", Password: "password", ForceSingleClient: true, DisableCache: true,
			TLSConfig: &tls.Config{RootCAs: ca.Pool, Certificates: []tls.Certificate{ca.Issue(name)}},
		}))
		mesh := redisdir.NewMesh(client, redisdir.MeshConfig{Logger: zap.NewNop()})
		node := testkit.Must(cluster.New(cluster.Config{
			Directory: open(t, client, redisdir.Config{}), Mesh: mesh, Name: name, Lease: lease, Logger: zap.NewNop(),
			Details: time.Minute,
		}))
		users := testkit.Must(usermgr.New(usermgr.Config{Claims: node, HeartbeatTimeout: -1, Logger: zap.NewNop()}))
		running.Go(func() {
			defer client.Close()
			defer mesh.Close()
			if err := node.Run(ctx); err != nil {
				t.Error(err)
			}
			if err := users.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		testkit.Eventually(t, name+" is in the cluster", node.May)
		nodes = append(nodes, users)
	}
	for i, n := range []*usermgr.Manager{nodes[0], nodes[1], nodes[0]} {
		testkit.Must(n.Register(ctx, usermgr.Logon{UserID: "ann"}, clustertest.Link(uint64(i+1))))
	}
	c := s.client()
	testkit.Eventually(t, "the store has the details of one session", func() bool {
		return testkit.Must(c.Do(ctx, c.B().Hlen().Key("{rollcall}:s:ann").Build()).AsInt64()) == 1
	})
	if nodes[1].IsOnline("ann") || nodes[0].Count() != 1 {
		t.Errorf("ann, who came back to the first node, is online at the second: %t; sessions at the first: %d", nodes[1].IsOnline("ann"), nodes[0].Count())
	}
}

// What a user may not do at the server is found at the start, and the error says what to allow. Settings that the server does not tell are logged.
func TestWhatAUserMayNotDoIsTold(t *testing.T) {
	s := startServer(t)
	ctx := t.Context()
	acl := documentedACL(t)
	for name, without := range map[string]string{"load": "+function|load", "list": "+function|list", "config": "+config|get", "info": "+info"} {
		if err := s.do(s.client(), "FUNCTION FLUSH"); err != nil {
			t.Fatal(err)
		}
		if name == "list" { // it is compared with the one that is there
			open(t, s.client(), redisdir.Config{})
		}
		if err := s.do(s.client(), strings.NewReplacer("SETUSER gate", "SETUSER "+name, " "+without+" ", " ").Replace(acl)); err != nil {
			t.Fatal(err)
		}
		client := testkit.Must(rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{s.addr}, Username: name, Password: "password", ForceSingleClient: true, DisableCache: true,
		}))
		defer client.Close()
		core, logged := observer.New(zap.WarnLevel)
		_, err := redisdir.New(ctx, client, redisdir.Config{Logger: zap.New(core)})
		switch name {
		case "config":
			if got := logged.FilterMessageSnippet("does not tell its settings").Len(); err != nil || got != 4 {
				t.Errorf("without %s New returned %v, and there are %d warnings", without, err, got)
			}
		case "load":
			if err == nil || !strings.Contains(err.Error(), "ACL SETUSER … +function +fcall") {
				t.Errorf("without %s the error is %v", without, err)
			}
		default:
			if err == nil || !strings.Contains(err.Error(), "NOPERM") && !strings.Contains(err.Error(), "no permissions") {
				t.Errorf("without %s the error is %v", without, err)
			}
		}
	}
}

// Config.Details: another program reads who is where from a hash that is forgotten when no node writes it any more.
func TestDetailsAreInAHashThatExpires(t *testing.T) {
	s := startServer(t)
	c := s.client()
	d := open(t, c, redisdir.Config{})
	ctx := t.Context()
	write := func(details ...cluster.Detail) {
		t.Helper()
		if err := d.Describe(ctx, time.Minute, details); err != nil {
			t.Fatal(err)
		}
	}
	read := func() map[string]string {
		return testkit.Must(c.Do(ctx, c.B().Hgetall().Key("{rollcall}:s:ann").Build()).AsStrMap())
	}
	write(cluster.Detail{User: "ann", Generation: 7, Body: []byte("phone")}, cluster.Detail{User: "ann", Generation: 8, Body: []byte("tablet")})
	if got := read(); len(got) != 2 || got["7"] != "phone" || got["8"] != "tablet" {
		t.Errorf("the store has %v", got)
	}
	if left := testkit.Must(c.Do(ctx, c.B().Pttl().Key("{rollcall}:s:ann").Build()).AsInt64()); left <= 0 || left > 60_000 {
		t.Errorf("it is forgotten in %d ms", left)
	}
	write(cluster.Detail{User: "ann", Generation: 7})
	if got := read(); len(got) != 1 || got["8"] != "tablet" {
		t.Errorf("after the end of a session the store has %v", got)
	}
	if err := d.Describe(ctx, 1, []cluster.Detail{{User: "ann", Generation: 8, Body: []byte("tablet")}}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the details are forgotten", func() bool { return len(read()) == 0 })
}

// documentedACL returns the command of docs/cluster.md that makes a user.
func documentedACL(t *testing.T) string {
	for line := range strings.Lines(string(testkit.Must(os.ReadFile("../../docs/cluster.md")))) {
		if strings.HasPrefix(line, "ACL SETUSER ") {
			return strings.TrimSpace(line)
		}
	}
	t.Fatal("docs/cluster.md has no ACL SETUSER")
	return ""
}
