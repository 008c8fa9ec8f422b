package bridge_test

import (
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// Rules 8 and 12, H3: a client that sends nothing but heartbeats and acknowledgements expires, is told so, and has no
// messages counted.
func TestWhoOnlyBeatsAndAcknowledgesExpires(t *testing.T) {
	s := newServer(t, options{users: usermgr.Config{IdleTimeout: time.Second}})
	final := finals(s)
	s.start()
	c := s.logOn("ann")
	stop := make(chan struct{})
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		ack := &protocol.Message{Type: protocol.TypePushAck, Body: make([]byte, 16)}
		for c.write(&protocol.Message{Type: protocol.TypeHeartbeat}, ack) == nil {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	c.expectClose(protocol.SessionExpired)
	close(stop)
	receive(t, "the end of the beats", beating)
	if i := receive(t, "the end of the session", final); i.In.Messages != 0 {
		t.Errorf("%d messages are counted", i.In.Messages)
	}
}

// S1: what a Logon carries besides the token and the session is in the session's Fields.
func TestASessionHasTheFieldsOfItsLogon(t *testing.T) {
	s := serve(t, options{})
	s.logOn("ann", "app", "7.1", protocol.FieldToken, "secret", "lang", "de")
	got := sessionsOf(s.users, "ann")[0]
	if f := got.Fields; len(f) != 2 || f["app"] != "7.1" || f["lang"] != "de" || got.Token != "secret" {
		t.Errorf("the session has the fields %v and the token %q", f, got.Token)
	}
}
