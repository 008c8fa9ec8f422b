package main

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
)

// flagged is a node with flags of the test's, in a process of its own.
type flagged struct {
	cmd          *exec.Cmd
	addr         string
	events, told testkit.Output
}

func (d *demo) startFlagged(t *testing.T, name string, flags ...string) *flagged {
	t.Helper()
	n := &flagged{addr: testkit.FreeAddr(t)}
	n.cmd = exec.Command(os.Args[0], append([]string{"-redis", "127.0.0.1:" + d.port, "-node", name, "-addr", n.addr, "-events"}, flags...)...)
	n.cmd.Stdout, n.cmd.Stderr = &n.events, &n.told
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		if t.Failed() {
			t.Log(name, ":", n.told.String())
		}
	})
	return n
}

func (n *flagged) await(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "the node listens", func() bool { return strings.Contains(n.told.String(), "listening on") })
}

// dial logs on a client that does not come back.
func (n *flagged) dial(t *testing.T, user string, device uint16, token string) (*client.Client, error) {
	c, err := client.Dial(t.Context(), n.addr, client.Config{UserID: user, Device: device, Fields: map[string]string{protocol.FieldToken: token}, Reconnect: client.Reconnect{Max: -1}})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// The settings of the flags count: -devices, -mesh, -line, -idle and -store-lost. Each event says where and when it was.
func TestTheFlagsOfANodeCount(t *testing.T) {
	d := startStore(t)
	t.Setenv("MESH_SECRET", "a secret of the test's")
	lines, direct := testkit.FreeAddr(t), testkit.FreeAddr(t)
	flags := []string{"-lease", "4s", "-devices", "per-device", "-idle", "10s", "-store-lost", "open"}
	a := d.startFlagged(t, "a", append(flags, "-mesh", direct, "-line", lines)...)
	b := d.startFlagged(t, "b", append(flags, "-mesh", testkit.FreeAddr(t))...)
	a.await(t)
	b.await(t)
	for what, addr := range map[string]string{"lines": lines, "other nodes": direct} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("for %s: %v", what, err)
		}
		_ = c.Close()
	}
	began := time.Now()
	phone := testkit.Must(a.dial(t, "ann", 1, ""))
	tablet := testkit.Must(b.dial(t, "ann", 2, ""))
	another := testkit.Must(a.dial(t, "ann", 2, ""))
	testkit.Receive(t, "the end of the tablet", tablet.Done())
	if err := tablet.Err(); !errors.Is(err, protocol.PushedOut) {
		t.Errorf("the tablet's session ended with %v", err)
	}
	testkit.Eventually(t, "the events are printed", func() bool { return strings.Contains(b.events.String(), `"disconnected"`) })
	of := map[string]uint64{}
	for line := range strings.Lines(b.events.String()) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Node != "b" || e.At < began.UnixMicro() || e.At > time.Now().UnixMicro() {
			t.Errorf("an event is %s: %v", line, err)
		}
		if e.User == "ann" {
			of[e.Event] = e.Generation
		}
		if e.Event == "connected" && !strings.Contains(line, `"node":"b"`) || !strings.Contains(line, `"at":`) {
			t.Errorf("an event is %s", line)
		}
	}
	if g := of["connected"]; g == 0 || of["pushed_out"] != g || of["disconnected"] != g {
		t.Errorf("the generations of b's events are %v", of)
	}
	for _, c := range []*client.Client{phone, another} { // they send nothing but heartbeats
		testkit.Receive(t, "the end of an idle session", c.Done())
		if err := c.Err(); !errors.Is(err, protocol.SessionExpired) {
			t.Errorf("an idle session ended with %v", err)
		}
	}
	_ = d.redis.Process.Kill()
	_ = d.redis.Wait()
	testkit.Eventually(t, "a user comes in although the store is lost", func() bool {
		_, err := a.dial(t, "bob", 1, "")
		return err == nil && strings.Contains(a.told.String(), "the node goes on without it")
	})
}

// Where a node does not answer, the answer to a query names it. With -token a client needs the token.
func TestAnAnswerNamesTheNodesThatAreSilent(t *testing.T) {
	d := startStore(t)
	a, b := d.startFlagged(t, "a", "-lease", "10s", "-token", "secret"), d.startFlagged(t, "b", "-lease", "10s") // so that b is not taken for dead meanwhile
	a.await(t)
	b.await(t)
	if _, err := a.dial(t, "ann", 0, "wrong"); !errors.Is(err, protocol.Unauthorized) {
		t.Errorf("with a wrong token ann was answered %v", err)
	}
	ann := testkit.Must(a.dial(t, "ann", 0, "secret"))
	testkit.Must(b.dial(t, "bob", 0, ""))
	if err := b.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	m, err := ann.Request(t.Context(), typeCounts, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"users":2,"sessions":1,"missing":["b"],"as_of":"`; !strings.HasPrefix(string(m.Body), want) {
		t.Errorf("the answer is %s, want %s", m.Body, want)
	}
}

// A flag that makes no sense ends the node at once, and the error says what is right.
func TestAWrongFlagIsNamed(t *testing.T) {
	t.Setenv(asExample, "1")
	t.Setenv("MESH_SECRET", "short")
	for says, flags := range map[string][]string{
		"-relogon both: must be replace-old or ignore-new": {"-relogon", "both"},
		"-devices 0: must be one, per-device or a number":  {"-devices", "0"},
		"-store-lost ajar: must be closed or open":         {"-store-lost", "ajar"},
		"-mesh needs the environment variable MESH_SECRET": {"-mesh", "127.0.0.1:0"},
		"TLS needs both -tls-cert and -tls-key":            {"-tls-cert", "cert.pem"},
	} {
		out, err := exec.Command(os.Args[0], flags...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%q: %v, %s", flags, err, out)
		}
	}
}
