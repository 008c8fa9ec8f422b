package cluster_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/cluster"
	"github.com/rollcall-go/rollcall/cluster/memory"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// servers are whole servers in one process, each with a node of one cluster.
type servers struct {
	store *memory.Directory
	mesh  *memory.Mesh
	all   []*server
}

type server struct {
	*rollcalltest.Server
	node *cluster.Node
}

// newServers starts servers that have joined. change may change the settings of each.
func newServers(t *testing.T, n int, change func(*rollcall.Config), setup func(*rollcall.Server)) *servers {
	t.Helper()
	w := &servers{store: memory.New(), mesh: memory.NewMesh()}
	for i := range n {
		node := testkit.Must(cluster.New(cluster.Config{Directory: w.store, Mesh: w.mesh, Name: fmt.Sprint("node-", i), Logger: zap.NewNop()}))
		cfg := rollcall.Config{Users: usermgr.Config{Claims: node}, Bridge: bridge.Config{Elsewhere: node}}
		if change != nil {
			change(&cfg)
		}
		s := &server{rollcalltest.NewServer(t, cfg, setup), node}
		ctx, end := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- node.Run(ctx) }()
		t.Cleanup(func() {
			end()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		ready, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := node.Joined(ready); err != nil {
			t.Fatal(err)
		}
		cancel()
		w.all = append(w.all, s)
	}
	return w
}

// inbox notes what a client gets.
type inbox struct {
	mu  sync.Mutex
	got []string
}

func (b *inbox) handle(_ *client.Client, m *protocol.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, fmt.Sprintf("%s: %s", m.UserID, m.Body))
	return nil
}

func (b *inbox) becomes(t *testing.T, want ...string) {
	t.Helper()
	rollcalltest.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.got) >= len(want)
	}, "the client has got %d messages", len(want))
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.got, want) {
		t.Errorf("the client has got %q, want %q", b.got, want)
	}
	b.got = nil
}

const chat = 0x0101

// Rule 23: Send, messages and requests from user to user and their answers, and the question who is online go over nodes as within one,
// with TLS and without, with workers and without.
func TestUsersOfTwoServersReachEachOther(t *testing.T) {
	ca := testca.New(t)
	serving := &tls.Config{Certificates: []tls.Certificate{ca.Issue("server")}}
	dialling := &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}
	for name, change := range map[string]func(*rollcall.Config){
		"tcp":             func(*rollcall.Config) {},
		"tls":             func(c *rollcall.Config) { c.Engine.Listeners = []engine.Listener{{Addr: "127.0.0.1:0", TLS: serving}} },
		"workers":         func(c *rollcall.Config) { c.Engine.Workers = 4 },
		"several devices": func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true },
		"undelivered heard": func(c *rollcall.Config) {
			c.Bridge.Relay = &bridge.Relay{Undelivered: func(*engine.Conn, *protocol.Message) {}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newServers(t, 2, func(c *rollcall.Config) {
				c.Bridge.Relay = &bridge.Relay{}
				c.Bridge.MayAskWhoIsOnline = func(string, []string) bool { return true }
				change(c)
			}, nil)
			var with *tls.Config
			if name == "tls" {
				with = dialling
			}
			var got inbox
			ann := w.all[0].Client(t, "ann", client.Config{TLS: with})
			w.all[1].Client(t, "bob", client.Config{TLS: with, Handle: map[uint16]client.Handler{
				chat:     got.handle,
				chat + 1: func(c *client.Client, m *protocol.Message) error { return c.Reply(m, []byte("yes")) },
			}})
			for i := range 3 {
				if err := w.all[0].Send("bob", chat, []byte{byte('0' + i)}); err != nil {
					t.Fatal(err)
				}
			}
			got.becomes(t, ": 0", ": 1", ": 2")
			if err := ann.SendTo("bob", chat, []byte("hi")); err != nil {
				t.Fatal(err)
			}
			got.becomes(t, "ann: hi")
			reply, err := ann.RequestTo(t.Context(), "bob", chat+1, []byte("there?"))
			if err != nil || string(reply.Body) != "yes" {
				t.Errorf("bob answered %v, %v", reply, err)
			}
			if _, err = ann.RequestTo(t.Context(), "eve", chat+1, nil); !errors.Is(err, protocol.UserOffline) {
				t.Errorf("a request to a user who is offline was answered with %v", err)
			}
			if online, err := ann.WhoIsOnline(t.Context(), "bob", "eve", "ann"); err != nil || !slices.Equal(online, []string{"bob", "ann"}) {
				t.Errorf("online are %v, %v", online, err)
			}
			big := make([]byte, protocol.DefaultMaxBody+1)
			if err := w.all[0].Send("bob", chat, big); !errors.Is(err, protocol.MessageTooLarge) {
				t.Errorf("a message that is too large was answered with %v", err)
			}
		})
	}
}

// Rule 23: Visible of the asker's node hides users from the answer to WhoIsOnline, also users on other nodes. A panic in it hides the user.
func TestAUserWhoHidesIsNotToldOnWhicheverServer(t *testing.T) {
	w := newServers(t, 2, func(c *rollcall.Config) {
		c.Logger = zap.NewNop()
		c.Bridge.MayAskWhoIsOnline = func(string, []string) bool { return true }
		c.Bridge.Visible = func(asker, userID string) bool {
			if userID == "mallory" {
				panic("on purpose")
			}
			return asker == userID || userID != "eve" && userID != "fay"
		}
	}, nil)
	ann := w.all[0].Client(t, "ann", client.Config{})
	fay := w.all[0].Client(t, "fay", client.Config{})
	for _, user := range []string{"bob", "eve", "mallory"} {
		w.all[1].Client(t, user, client.Config{})
	}
	for _, tc := range []struct {
		asker         *client.Client
		about, online []string
	}{
		{ann, []string{"mallory", "eve", "bob", "carol", "fay", "ann"}, []string{"bob", "ann"}},
		{fay, []string{"fay", "eve", "bob"}, []string{"fay", "bob"}},
		{ann, []string{"eve"}, nil},
	} {
		if online, err := tc.asker.WhoIsOnline(t.Context(), tc.about...); err != nil || !slices.Equal(online, tc.online) {
			t.Errorf("of %q are told %q, %v; want %q", tc.about, online, err, tc.online)
		}
	}
}

// Rule 23: with several devices a message goes to the sessions here and elsewhere, each once.
func TestAMessageReachesEachDeviceOnWhicheverServerItIs(t *testing.T) {
	w := newServers(t, 2, func(c *rollcall.Config) { c.Users.Devices.OnePerClass = true }, nil)
	var phone, tablet inbox
	w.all[0].Client(t, "bob", client.Config{Device: 1, Handle: map[uint16]client.Handler{chat: phone.handle}})
	w.all[1].Client(t, "bob", client.Config{Device: 2, Handle: map[uint16]client.Handler{chat: tablet.handle}})
	for _, s := range w.all {
		if err := s.Send("bob", chat, []byte("hi")); err != nil {
			t.Fatal(err)
		}
	}
	phone.becomes(t, ": hi", ": hi")
	tablet.becomes(t, ": hi", ": hi")
}

// A bridge whose Elsewhere is a node of another user manager is refused.
func TestABridgeNeedsTheNodeOfItsUserManager(t *testing.T) {
	node := testkit.Must(cluster.New(cluster.Config{Directory: memory.New(), Mesh: memory.NewMesh()}))
	if _, err := rollcall.New(rollcall.Config{Addr: "127.0.0.1:0", Bridge: bridge.Config{Elsewhere: node}}); err == nil {
		t.Error("a node without a user manager was taken")
	}
}
