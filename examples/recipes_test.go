package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// The programs of docs/recipes.md do what the page says, where programs like them get it wrong.

// logOn connects a client of package client, which does not come back unless cfg says so.
func logOn(t *testing.T, addr string, cfg client.Config) (*client.Client, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if cfg.Reconnect == (client.Reconnect{}) {
		cfg.Reconnect.Max = -1
	}
	c, err := client.Dial(ctx, addr, cfg)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func mustLogOn(t *testing.T, addr string, cfg client.Config) *client.Client {
	t.Helper()
	c, err := logOn(t, addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ask makes a request, to another user unless to is empty.
func ask(t *testing.T, c *client.Client, to string, typ uint16, body string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := c.RequestTo(ctx, to, typ, []byte(body))
	if err != nil {
		return "", err
	}
	return string(m.Body), nil
}

func mustAsk(t *testing.T, c *client.Client, to string, typ uint16, body string) string {
	t.Helper()
	reply, err := ask(t, c, to, typ, body)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// heard gathers what a client is told.
type heard struct {
	mu    sync.Mutex
	texts []string
}

func (h *heard) add(s string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.texts = append(h.texts, s)
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.texts)
}

// Rule 28: a user whose second logon replaces the first stays in the room, with one connection. All members of a room hear
// the same order, also when several speak at once.
func TestRecipeRooms(t *testing.T) {
	const join, say, leave = 1, 2, 3
	p := start(t, "recipes/rooms", "-addr", "127.0.0.1:0")
	addr := p.address(t)
	member := func(user string) (*client.Client, *heard) {
		h := new(heard)
		return mustLogOn(t, addr, client.Config{UserID: user, Handle: map[uint16]client.Handler{
			say: func(_ *client.Client, m *protocol.Message) error { h.add(m.UserID + ": " + string(m.Body)); return nil },
		}}), h
	}
	alice, _ := member("alice")
	bob, bobHears := member("bob")
	carol, carolHears := member("carol")
	if _, err := ask(t, carol, "", say, "garden hello?"); !errors.Is(err, protocol.Refused) {
		t.Errorf("who is in no room is told %v", err)
	}
	mustAsk(t, carol, "", join, "garden")
	for _, c := range []*client.Client{alice, bob, bob} { // to join twice changes nothing
		mustAsk(t, c, "", join, "kitchen")
	}
	if n := mustAsk(t, alice, "", say, "kitchen hello"); n != "2" {
		t.Errorf("it went to %s connections", n)
	}
	eventually(t, "bob hears it", func() bool { return slices.Contains(bobHears.all(), "alice: kitchen hello") })

	bobsNext, bobsNextHears := member("bob")
	<-bob.Done()
	if n := mustAsk(t, alice, "", say, "kitchen still there?"); n != "2" {
		t.Errorf("after bob's second logon it went to %s connections", n)
	}
	mustAsk(t, bobsNext, "", say, "kitchen yes")
	eventually(t, "the new session hears it", func() bool { return slices.Contains(bobsNextHears.all(), "alice: kitchen still there?") })

	const each, speakers = 200, 6
	var all []*heard
	var speaking sync.WaitGroup
	ready := make(chan struct{})
	for i := range speakers {
		c, h := member(fmt.Sprint("speaker", i))
		mustAsk(t, c, "", join, "hall")
		all = append(all, h)
		speaking.Go(func() {
			<-ready
			for j := range each {
				if err := c.Send(say, fmt.Append(nil, "hall ", j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(ready)
	speaking.Wait()
	for i, h := range all {
		eventually(t, "a member has heard all", func() bool { return len(h.all()) == each*speakers })
		if !slices.Equal(h.all(), all[0].all()) {
			t.Errorf("members 0 and %d have not heard one order", i)
		}
	}
	_ = bobsNext.Close()
	mustAsk(t, carol, "", leave, "garden")
	if _, err := ask(t, carol, "", say, "garden hello?"); !errors.Is(err, protocol.Refused) {
		t.Errorf("who has left is told %v", err)
	}
	eventually(t, "bob has left", func() bool { return mustAsk(t, alice, "", say, "kitchen alone?") == "1" })
	if all := carolHears.all(); len(all) != 0 {
		t.Errorf("carol, in another room, heard %q", all)
	}
	if all := bobHears.all(); len(all) != 1 {
		t.Errorf("bob's first session heard %q", all)
	}
	p.end(t, syscall.SIGTERM)
}

// Rule 27, and what it does not have: letters survive the server, in order. What bob's client handled while the server died it
// does not handle again.
func TestRecipeOffline(t *testing.T) {
	const write = 1
	bin := build(t, "recipes/offline")
	file := filepath.Join(t.TempDir(), "letters.jsonl")
	var addr atomic.Value
	serve := func() *program {
		p := run(t, exec.Command(bin, "-addr", "127.0.0.1:0", "-file", file))
		addr.Store(p.address(t))
		return p
	}
	kill := func(p *program) {
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
	writes := func(texts ...string) {
		alice := mustLogOn(t, addr.Load().(string), client.Config{UserID: "alice"})
		for _, text := range texts {
			mustAsk(t, alice, "bob", write, text)
		}
		_ = alice.Close()
	}

	server := serve()
	writes("1", "2")
	kill(server)
	server = serve()
	writes("3")

	read, handling, handled := new(heard), make(chan struct{}), make(chan struct{})
	bob := mustLogOn(t, "the server", client.Config{
		UserID:    "bob",
		Reconnect: client.Reconnect{Min: time.Millisecond, Max: 10 * time.Millisecond},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr.Load().(string))
		},
		OnPush: func(_ *client.Client, m *protocol.PushMessage) {
			read.add(m.Metadata["from"] + ": " + string(m.Content))
			if string(m.Content) == "4" { // the server dies before it hears that this one has been handled
				close(handling)
				<-handled
			}
		},
	})
	eventually(t, "bob has read what was kept", func() bool { return len(read.all()) == 3 })
	writes("4")
	<-handling
	kill(server)
	server = serve()
	close(handled)
	writes("5")
	eventually(t, "bob reads on", func() bool { return slices.Contains(read.all(), "alice: 5") })
	if got, want := read.all(), []string{"alice: 1", "alice: 2", "alice: 3", "alice: 4", "alice: 5"}; !slices.Equal(got, want) {
		t.Errorf("bob read %q", got)
	}
	eventually(t, "the server knows what has been read", func() bool {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Count(b, []byte(`"Read":true`)) == 5
	})
	server.end(t, syscall.SIGTERM)

	_ = bob.Close()
	server, read = serve(), new(heard)
	_ = mustLogOn(t, addr.Load().(string), client.Config{UserID: "bob", OnPush: func(_ *client.Client, m *protocol.PushMessage) { read.add(string(m.Content)) }})
	writes("6")
	eventually(t, "another client of bob's reads on", func() bool { return slices.Contains(read.all(), "6") })
	if got := read.all(); len(got) != 1 {
		t.Errorf("what bob has read came again: %q", got)
	}
	server.end(t, syscall.SIGTERM)
}

// Rules 10, 17 and 26: two devices with one password live side by side, and a ban of the user holds for each, and for one that
// was not there; a phone that is logged out does not take the desktop along.
func TestRecipeBans(t *testing.T) {
	const ban, unban, logOut, desktop, phone = 1, 2, 3, 1, 2
	p := start(t, "recipes/bans", "-addr", "127.0.0.1:0")
	addr := p.address(t)
	on := func(user, password string, device uint16) (*client.Client, error) {
		return logOn(t, addr, client.Config{UserID: user, Device: device, Fields: map[string]string{protocol.FieldToken: password}})
	}
	must := func(c *client.Client, err error) *client.Client {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ends := func(c *client.Client, want protocol.CloseCode) {
		t.Helper()
		<-c.Done()
		if !errors.Is(c.Err(), want) {
			t.Errorf("it ended with %v, want %v", c.Err(), want)
		}
	}
	refused := func(user, password string, device uint16, want protocol.CloseCode) {
		t.Helper()
		if _, err := on(user, password, device); !errors.Is(err, want) {
			t.Errorf("%s on %d is told %v, want %v", user, device, err, want)
		}
	}
	admin := must(on("admin", "root", desktop))
	alice := must(on("alice", "wonder", desktop))
	bob, bobsPhone := must(on("bob", "builder", desktop)), must(on("bob", "builder", phone))
	refused("alice", "wonder", 9, protocol.DeviceNotAllowed)
	refused("alice", "guess", phone, protocol.Unauthorized)
	if _, err := ask(t, bob, "", ban, "alice"); !errors.Is(err, protocol.Refused) {
		t.Errorf("bob, who is no admin, is told %v", err)
	}

	mustAsk(t, admin, "", logOut, "bob")
	ends(bobsPhone, protocol.KickedOut)
	refused("bob", "builder", phone, protocol.Unauthorized)
	if s := bob.State(); s != client.Online {
		t.Errorf("bob's desktop is %v", s)
	}

	mustAsk(t, admin, "", ban, "alice")
	ends(alice, protocol.KickedOut)
	refused("alice", "wonder", desktop, protocol.Unauthorized)
	refused("alice", "wonder", phone, protocol.Unauthorized) // which was not online
	mustAsk(t, admin, "", unban, "alice")
	_ = must(on("alice", "wonder", desktop))
	_ = must(on("alice", "wonder", phone))
	mustAsk(t, admin, "", ban, "carol") // who is not online
	p.end(t, syscall.SIGTERM)
}

// Rule 5: while a report is made the client's other requests, or with Workers other clients', are answered; each reply comes under
// its request's ID, whichever is ready first.
func TestRecipeSlow(t *testing.T) {
	const report, ping = 1, 2
	for _, workers := range []string{"0", "2"} {
		t.Run("workers "+workers, func(t *testing.T) {
			p := start(t, "recipes/slow", "-addr", "127.0.0.1:0", "-workers", workers)
			addr := p.address(t)
			alice, bob := dial(t, addr), dial(t, addr)
			alice.send(t, protocol.Message{Type: report, ID: 1, UserID: "alice", Body: []byte("1h")})
			other := bob // with Workers a client's requests wait for one another
			if workers == "0" {
				other = alice
			}
			for i := uint32(2); i < 20; i++ {
				other.send(t, protocol.Message{Type: report, ID: i, UserID: "bob", Body: fmt.Appendf(nil, "%dms", 20-i)})
			}
			other.send(t, protocol.Message{Type: ping, ID: 20, Body: []byte("pong")})
			for range 19 {
				m := other.receive(t)
				want := fmt.Sprintf("it took %dms", 20-m.ID)
				if m.ID == 20 {
					want = "pong"
				}
				if string(m.Body) != want || m.Flags != protocol.FlagReply || m.ID == 1 {
					t.Errorf("answered %+v, want %q", m, want)
				}
			}
			p.end(t, syscall.SIGTERM) // the report of an hour is given up
			if code := alice.closeCode(t); code != protocol.ServerStopping {
				t.Errorf("who waits is told %v", code)
			}
		})
	}
}

// The load balancer's probes are no flapping client, and a client that flaps has its own address banned, not the balancer's and
// with it everybody else.
func TestRecipeBalancer(t *testing.T) {
	const whereFrom = 1
	p := start(t, "recipes/balancer", "-addr", "127.0.0.1:0", "-health", "127.0.0.1:0")
	addr := p.address(t)
	var health string
	eventually(t, "it listens for probes", func() bool {
		_, rest, ok := strings.Cut(p.stderr.String(), "probes on ")
		health, _, _ = strings.Cut(rest, "\n")
		return ok && strings.Contains(rest, "\n")
	})
	// from logs a client on by way of the load balancer, and returns where the server sees it, or that it was not let in.
	from := func(client string) (seen string, err error) {
		c := dial(t, addr)
		defer c.Close()
		if client != "" {
			_, _ = fmt.Fprintf(c, "PROXY TCP4 %s 127.0.0.1 5555 9000\r\n", client)
		}
		b, _ := protocol.Binary.Append(nil, &protocol.Message{Type: whereFrom, ID: 1, UserID: "user-" + client})
		_, _ = c.Write(b)
		m, err := c.in.Next(c.Read)
		if err != nil {
			return "", err
		}
		return string(m.Body), nil
	}
	for range 50 {
		for _, port := range []string{addr, health} {
			probe, err := net.Dial("tcp", port)
			if err != nil {
				t.Fatal(err)
			}
			_ = probe.Close()
		}
	}
	eventually(t, "a client that flaps is banned", func() bool { _, err := from("203.0.113.9"); return err != nil })
	if seen, err := from("203.0.113.7"); seen != "203.0.113.7:5555" || err != nil {
		t.Errorf("another client is seen at %q, %v", seen, err)
	}
	if seen, err := from(""); err == nil {
		t.Errorf("who says nothing of the client is let in from %s", seen)
	}
	c := dial(t, health)
	c.send(t, protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "probe"})
	if m := c.receive(t); m.Flags != protocol.FlagReply {
		t.Errorf("after many probes the next is answered %+v", m)
	}
	p.end(t, syscall.SIGTERM)
}

// Rule 8, and what people type: one who says nothing stays, where nothing watches for silence.
func TestRecipeLines(t *testing.T) {
	p := start(t, "recipes/lines", "-addr", "127.0.0.1:0")
	open := func(addr, name string) func(types string, shows string) {
		c := dial(t, addr)
		in := bufio.NewReader(c)
		expect := func(types, shows string) {
			t.Helper()
			_, _ = io.WriteString(c, types)
			if got, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(got, shows) {
				t.Errorf("%s sees %q, %v; want %q", name, got, err, shows)
			}
		}
		expect(name+"\r\n", "* welcome\n")
		return expect
	}
	alice, bob := open(p.address(t), "alice"), open(p.address(t), "bob")

	impatient := start(t, "recipes/lines", "-addr", "127.0.0.1:0", "-silence", "100ms")
	silent := dial(t, impatient.address(t))
	_, _ = io.WriteString(silent, "carol\n")
	told, err := io.ReadAll(silent)
	if !strings.Contains(string(told), "* close 1002 HeartbeatTimeout") {
		t.Errorf("who says nothing where silence is watched for is told %q, %v", told, err)
	}
	alice("@bob are you there?\r\n@zoe and you?\r\n", "zoe is not here\n") // alice and bob have said nothing since before
	bob("", "<alice> @bob are you there?\n")
	bob("hello, all\n", "<bob> hello, all\n")
	alice("", "<bob> hello, all\n")

	impatient.end(t, syscall.SIGTERM)
	p.end(t, syscall.SIGTERM)
}
