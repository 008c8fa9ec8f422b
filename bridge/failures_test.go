package bridge_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// failing is a user manager of one's own that fails in one method, of its own or of its sessions, for the user mallory.
type failing struct {
	guestBook
	where string
	fail  func()
	armed atomic.Bool
}

type failingGuest struct {
	usermgr.Session
	book *failing
}

func (b *failing) at(where, user string) {
	if b.where == where && user == "mallory" && b.armed.Load() {
		b.fail()
	}
}

func (b *failing) Register(ctx context.Context, l usermgr.Logon, link usermgr.Link) (usermgr.Session, error) {
	b.at("Register", l.UserID)
	s, err := b.guestBook.Register(ctx, l, link)
	if err != nil {
		return nil, err
	}
	return &failingGuest{s, b}, nil
}

func (g *failingGuest) name() string { return g.Session.(*guest).user }

func (g *failingGuest) ID() string {
	g.book.at("ID", g.name())
	return g.Session.ID()
}

func (g *failingGuest) UserID() string {
	g.book.at("UserID", g.name())
	return g.Session.UserID()
}

func (g *failingGuest) Beat() { g.book.at("Beat", g.name()) }

func (g *failingGuest) Received(uint16, int, int) { g.book.at("Received", g.name()) }

func (g *failingGuest) Sent(uint16, int, int) { g.book.at("Sent", g.name()) }

func (g *failingGuest) End(code protocol.CloseCode) {
	g.Session.End(code)
	g.book.at("End", g.name())
}

// Rule 15: what fails in a user manager of one's own, or in its sessions, ends that logon or connection with InternalError, and
// nothing else: others are served, and the engine stops well.
func TestAFailureInAnOwnUserManagerEndsThatConnectionAlone(t *testing.T) {
	for how, fail := range map[string]func(){"panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit} {
		for _, where := range []string{"Register", "ID", "UserID", "Beat", "Received", "Sent", "End"} {
			t.Run(how+" in "+where, func(t *testing.T) {
				book := &failing{guestBook: guestBook{guests: make(map[string]*guest)}, where: where, fail: fail}
				book.armed.Store(true)
				s := newServerFor(t, options{engine: engine.Config{Loops: 1}}, nil, book).start()
				ann := s.dial()
				ann.logOn("ann")
				for range 2 {
					mallory := s.dial()
					mallory.send(logonMessage("mallory"), &protocol.Message{Type: echo, ID: 9})
					if where == "End" {
						mallory.receive()
					} else {
						mallory.untilClose(protocol.InternalError)
					}
					_ = mallory.conn.Close()
					eventually(t, "mallory has left", func() bool { return s.engine.Stats().Conns.Open == 1 })
				}
				ann.ask("hello")
				if err := s.bridge.Send("ann", push, []byte("hello")); err != nil {
					t.Error(err)
				}
				ann.expect(push, "hello")
				if err := s.stop(); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
		}
	}
}

// failingClaims are granted at once, but fail for mallory.
type failingClaims struct {
	where string
	fail  func()
}

func (c failingClaims) Claim(_ context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error) {
	if c.where == "Claim" && r.Logon.UserID == "mallory" {
		c.fail()
	}
	return usermgr.Claimed{}, nil
}

func (c failingClaims) Release(userID string, _ uuid.UUID, _ uint64, _ usermgr.SessionInfo) {
	if c.where == "Release" && userID == "mallory" {
		c.fail()
	}
}

// Rules 10 and 20: a failure in a program's Claims refuses that logon, if any, with InternalError. The user may come again, and the
// server stops well.
func TestAFailureInClaimsRefusesThatLogonAlone(t *testing.T) {
	for how, fail := range map[string]func(){"panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit} {
		for _, where := range []string{"Claim", "Release"} {
			t.Run(how+" in "+where, func(t *testing.T) {
				s := serve(t, options{users: usermgr.Config{Claims: failingClaims{where, fail}}})
				ann := s.logOn("ann")
				for range 3 {
					if where == "Release" { // the second pushes out the first
						s.logOn("mallory")
						continue
					}
					mallory := s.dial()
					mallory.send(logonMessage("mallory"))
					mallory.expectRefused(protocol.InternalError)
				}
				ann.ask("hello")
				if err := s.stop(); err != nil {
					t.Errorf("Run returned %v", err)
				}
				if n := s.users.Stats().HandlerPanics; n != 3 {
					t.Errorf("%d failures were counted", n)
				}
			})
		}
	}
}

// Rule 15: the functions of a Relay, and the one that says who may ask, run where message handlers do.
func TestAFailureInTheRelaysFunctionsEndsThatConnectionAlone(t *testing.T) {
	for how, fail := range map[string]func(){"panic": func() { panic("on purpose") }, "Goexit": runtime.Goexit} {
		t.Run(how, func(t *testing.T) {
			s := serve(t, options{engine: engine.Config{Loops: 1}, bridge: bridge.Config{
				Relay: &bridge.Relay{
					Allow: func(c *engine.Conn, m *protocol.Message) error {
						if c.UserID() == "mallory" {
							fail()
						}
						return nil
					},
					Undelivered: func(c *engine.Conn, _ *protocol.Message) {
						if c.UserID() == "trudy" {
							fail()
						}
					},
				},
				MayAskWhoIsOnline: func(string, []string) bool {
					fail()
					return true
				}}})
			ann := s.logOn("ann")
			ask, err := system.AppendIDList(nil, []string{"ann"})
			if err != nil {
				t.Fatal(err)
			}
			for user, m := range map[string]*protocol.Message{
				"mallory": {Type: echo, ID: 3, DestUserID: "ann"},
				"trudy":   {Type: echo, ID: 3, DestUserID: "nobody"},
				"eve":     {Type: protocol.TypeWhoIsOnline, ID: 3, Body: ask},
			} {
				c := s.logOn(user)
				c.send(m)
				c.untilClose(protocol.InternalError)
				_ = c.conn.Close()
			}
			ann.ask("hello")
			if err := s.stop(); err != nil {
				t.Errorf("Run returned %v", err)
			}
		})
	}
}
