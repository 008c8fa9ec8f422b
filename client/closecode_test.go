package client_test

import (
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/protocol"
)

// The table of docs/protocol.md, by thousand, for codes that have a name and for codes that have none.
func TestTheCloseCodeDecidesWhetherTheClientReconnects(t *testing.T) {
	for _, tc := range []struct {
		codes     []protocol.CloseCode
		reconnect bool
	}{
		{[]protocol.CloseCode{protocol.ClientClosed, protocol.NetworkError, protocol.HeartbeatTimeout, protocol.SlowConsumer,
			protocol.ServerStopping, protocol.LogonTimeout, protocol.TooManyConnections, protocol.RateLimited,
			protocol.InternalError, 1009, 1500, 1999}, true},
		{[]protocol.CloseCode{protocol.PushedOut, protocol.AlreadyLoggedOn, protocol.KickedOut, protocol.Unauthorized,
			protocol.InvalidMessage, protocol.WrongUserID, protocol.MessageTooLarge, protocol.DeviceNotAllowed,
			protocol.SessionExpired, 2009, 2999}, false},
		{[]protocol.CloseCode{3000, 3001, 3999}, true},
		{[]protocol.CloseCode{4000, 4001, 4999}, false},
		{[]protocol.CloseCode{protocol.UserOffline, protocol.TimedOut, 5999}, false}, // a request's, not a connection's
		{[]protocol.CloseCode{1, 999, 6000, 65535}, false},
	} {
		for _, why := range tc.codes {
			t.Run(fmt.Sprintf("%d %v", uint16(why), why), func(t *testing.T) {
				n := sockets(t)
				cfg := client.Config{Reconnect: client.Reconnect{Min: -1}}
				changes := watch(&cfg)
				c, p := n.dial(cfg, nil)
				expect(t, changes, client.Online)
				p.notice(protocol.CloseError{Code: why, Text: "so it is"})
				if tc.reconnect {
					if got := code(t, expect(t, changes, client.Reconnecting)); got != why {
						t.Errorf("OnState is told %v", got)
					}
					n.accept().welcome(nil)
					expect(t, changes, client.Online)
					return
				}
				if got := code(t, expect(t, changes, client.Closed)); got != why {
					t.Errorf("OnState is told %v", got)
				}
				<-c.Done()
				if c.State() != client.Closed || code(t, c.Err()) != why || len(n.dials) != 1 {
					t.Errorf("%v with %v after %d connections", c.State(), c.Err(), len(n.dials))
				}
			})
		}
	}
}

// The same codes decide when a logon is refused while the client reconnects.
func TestARefusalWhileReconnectingGoesByItsCode(t *testing.T) {
	for why, reconnect := range map[protocol.CloseCode]bool{
		protocol.ServerStopping: true, protocol.InternalError: true, 1999: true, 3000: true,
		protocol.Unauthorized: false, protocol.PushedOut: false, protocol.KickedOut: false, protocol.DeviceNotAllowed: false,
		protocol.SessionExpired: false, 2999: false, 4000: false, 5000: false,
	} {
		t.Run(fmt.Sprintf("%d %v", uint16(why), why), func(t *testing.T) {
			n := sockets(t)
			cfg := client.Config{Reconnect: client.Reconnect{Min: -1}}
			changes := watch(&cfg)
			_, p := n.dial(cfg, nil)
			expect(t, changes, client.Online)
			_ = p.nc.Close()
			if got := code(t, expect(t, changes, client.Reconnecting)); got != protocol.NetworkError {
				t.Errorf("the connection was lost with %v", got)
			}
			p = n.accept()
			p.refuse(p.read(), protocol.CloseError{Code: why})
			want := client.Closed
			if reconnect {
				want = client.Reconnecting
			}
			if got := code(t, expect(t, changes, want)); got != why {
				t.Errorf("OnState is told %v", got)
			}
			if reconnect {
				n.accept().welcome(nil)
				expect(t, changes, client.Online)
			}
		})
	}
}
