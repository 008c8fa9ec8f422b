package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/internal/wsframe"
	"github.com/rollcall-go/rollcall/protocol"
	pushing "github.com/rollcall-go/rollcall/push"
	"github.com/rollcall-go/rollcall/usermgr"
)

// sameOverAll are tests of what is the same over each transport.
var sameOverAll = map[string]func(*testing.T){
	"it comes back":         TestTheClientLogsOnAgainWhenTheServerIsBack,
	"pushed out":            TestAClientThatWasPushedOutStaysOut,
	"kicked":                TestAClientThatWasKickedStaysOut,
	"expired":               TestAClientWhoseSessionExpiredStaysOut,
	"known by the token":    TestTheServerMayKnowTheUserByTheToken,
	"its token has expired": TestAClientWhoseTokenHasExpiredStaysOut,
	"requests":              TestRequestsAndRepliesBothWays,
	"idle":                  TestAnIdleClientStaysOnline,
	"a goodbye":             TestCloseIsAGoodbye,
}

// What a client does over TCP it does over WebSocket.
func TestAClientIsTheSameOverWebSocket(t *testing.T) {
	for name, test := range sameOverAll {
		t.Run(name, func(t *testing.T) { eachTransport(t, test) })
	}
	for name, test := range map[string]func(*testing.T){
		"what was sent before Close":    TestCloseSendsWhatWasSentBeforeAndThenANotice,
		"a server that does not end":    TestCloseGivesUpOnAServerThatDoesNotEnd,
		"requests end at Close":         TestCloseEndsRequestsAtOnce,
		"no waiting":                    TestANegativeCloseTimeMeansNoWaiting,
		"Close in a handler":            TestCloseMayBeCalledInAHandler,
		"Done waits":                    TestDoneWaitsForTheLastHandler,
		"Close while reconnecting":      TestCloseEndsAReconnectingClient,
		"acknowledgements before Close": TestCloseSendsTheAcknowledgementsThatAreDue,
		"failures":                      TestAFailureInACallbackEndsTheClient,
		"messages and states":           TestStatesAndMessagesComeInOrder,
		"messages that wait":            TestMessagesThatWaitAreBounded,
		"a reply past what waits":       TestARequestInAHandlerGetsItsReplyPastMessagesThatWait,
		"a heartbeat":                   TestAHeartbeatIsSentWhenNothingElseWas,
		"signs of life":                 TestEverythingThatIsSentCountsAsASignOfLife,
		"a silent server":               TestASilentServerIsAskedAndThenGivenUpOn,
		"a server that answers":         TestAServerThatAnswersIsAlive,
		"a network that takes nothing":  TestANetworkThatTakesNothingIsGivenUpOn,
		"a refused logon":               TestARefusedLogonIsDialsError,
		"pushes":                        TestPushesComeInOrderWithMessagesAndAreAcknowledged,
		"pushes again":                  TestAPushThatComesAgainIsAcknowledgedAndNotDelivered,
		"a bad push":                    TestABadPushEndsTheClientAndIsReported,
		"the last session":              TestTheLastSessionIsSentAlong,
		"replies in any order":          TestRepliesFindTheirRequestsInAnyOrder,
		"requests and their connection": TestARequestThatWaitsEndsWithTheConnection,
		"order":                         TestMessagesOfOneGoroutineArriveInOrder,
		"the body is the caller's":      TestTheBodyMayBeUsedAgainWhenSendReturns,
		"a renewal":                     TestTheClientRenewsInTime,
		"a renewal and its connection":  TestARenewalEndsWithItsConnection,
	} {
		over(t, transport{web: true}, name, test)
	}
}

// Bodies of each length that a WebSocket frame writes in another way come back as they were sent, and so do large ones.
func TestBodiesOfAllSizesGoOverWebSocket(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		srv := newServer(t, rollcall.Config{}, func(s *rollcall.Server) {
			s.Engine.Handle(1, func(c *engine.Conn, m *protocol.Message) error { return c.Reply(m, m.Body) })
		})
		c := join(t, srv, "alice", client.Config{})
		body := bytes.Repeat([]byte("0123456789abcdefg"), 1<<20/17+1)
		for _, size := range []int{0, 1, 108, 109, 110, 111, 125, 126, 1000, 16<<10 - 16, 65535 - 16, 65536 - 16, 65000, 65537, 300_000, 1 << 20} {
			reply, err := c.Request(t.Context(), 1, body[:size])
			if err != nil || !bytes.Equal(reply.Body, body[:size]) {
				t.Fatalf("the answer to %d bytes has %d bytes, or others, %v", size, len(reply.Body), err)
			}
		}
		for i := range 200 {
			if err := c.Send(1, body[:i*300]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAPushIsConfirmedOverWebSocket(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		var pushes *pushing.Service
		srv := newServer(t, rollcall.Config{}, func(s *rollcall.Server) { pushes = pushing.New(s.Bridge) })
		cfg := client.Config{}
		got := contents(&cfg)
		join(t, srv, "alice", cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		result, err := pushes.Push(ctx, pushing.ToUsers("alice"), pushing.Text("dinner"), &pushing.Options{Confirm: true})
		if err != nil || len(result.Deliveries) != 1 || !result.Deliveries[0].Confirmed {
			t.Errorf("the push ended with %+v, %v", result, err)
		}
		if text := receive(t, "the push", got); text != "dinner" {
			t.Errorf("pushed is %q", text)
		}
	})
}

// The server's pings hold a client online that sends no heartbeats, and the connection ends by itself in no other way: rule 8.
func TestTheServersPingsAreAnswered(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		srv := newServer(t, rollcall.Config{
			Engine: engine.Config{Listeners: []engine.Listener{{WebSocket: &engine.WebSocket{PingInterval: 500 * time.Millisecond}}}},
			Users:  usermgr.Config{HeartbeatTimeout: 1500 * time.Millisecond, HeartbeatCheckInterval: 10 * time.Millisecond}}, nil)
		cfg := client.Config{Timeouts: client.Timeouts{Heartbeat: -1}}
		changes := watch(&cfg)
		c := join(t, srv, "alice", cfg)
		expect(t, changes, client.Online)
		timer := time.NewTimer(3 * time.Second)
		defer timer.Stop()
		select {
		case ch := <-changes:
			t.Errorf("the client is %v: %v", ch.state, ch.err)
		case <-timer.C:
		}
		if _, ok := srv.Users.Session(c.SessionID()); !ok {
			t.Error("the session is gone")
		}
	})
}

// A Ping is answered with a Pong that has its payload, the latest one at least; it counts as a sign of life of the server, and the Pong
// does not take the place of a Heartbeat.
func TestThePongHasThePingsPayload(t *testing.T) {
	over(t, transport{web: true}, "ws", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := pipes(t)
			cfg := client.Config{Timeouts: client.Timeouts{Server: 10 * time.Second}}
			changes := watch(&cfg)
			_, p := n.dial(cfg, map[string]string{"heartbeat-ms": "100000"})
			w := p.nc.(*webConn)
			messages := make(chan *protocol.Message, 100)
			go func() {
				for m, err := p.next(); err == nil; m, err = p.next() {
					messages <- m
				}
			}()
			began := time.Now()
			for i := range 60 {
				time.Sleep(2 * time.Second)
				ping := fmt.Sprint("ping ", i)
				frames := serverFrame(wsframe.Ping, true, "an earlier one") + serverFrame(wsframe.Ping, true, ping)
				if i == 59 {
					ping, frames = "", serverFrame(wsframe.Ping, true, "")
				}
				if _, err := w.Conn.Write([]byte(frames)); err != nil {
					t.Fatal(err)
				}
				if got := <-w.pongs; got != ping {
					t.Fatalf("the answer to %q is %q", ping, got)
				}
			}
			if m := <-messages; m.Type != protocol.TypeHeartbeat || time.Since(began) > 120*time.Second {
				t.Errorf("the client sends %v", m)
			}
			expect(t, changes, client.Online)
			if len(changes) > 0 {
				t.Errorf("the client is %v", <-changes)
			}
		})
	})
}

// A Ping and a Close that come with the answer to the HTTP request are read.
func TestWhatComesWithTheAnswerIsRead(t *testing.T) {
	over(t, transport{web: true}, "ws", func(t *testing.T) {
		n := sockets(t)
		n.raw = true
		failed := make(chan error, 1)
		go func() {
			_, err := client.Dial(context.Background(), "ws://first:1", client.Config{UserID: "alice", DialContext: n.dialContext})
			failed <- err
		}()
		w := newWebConn(t, n.accept().nc)
		notice := string(closeFrame(t, protocol.CloseError{Code: protocol.DeviceNotAllowed, Text: "no"}))
		_, _ = w.Conn.Write([]byte(acceptance(w.request()) + serverFrame(wsframe.Ping, true, "early") +
			serverFrame(wsframe.Binary, false, notice[:5]) + serverFrame(wsframe.Continuation, true, notice[5:]) + serverClose(1008, "2007 DeviceNotAllowed: no")))
		if m := (&peer{t: t, nc: w}).read(); m.Type != protocol.TypeLogon {
			t.Errorf("the client sends %v", m)
		}
		if got := receive(t, "the client's Close", closed(w)); got != "1000" {
			t.Errorf("the client closes with %s", got)
		}
		_ = w.Conn.Close()
		if err := receive(t, "Dial's error", failed); code(t, err) != protocol.DeviceNotAllowed {
			t.Errorf("Dial returned %v", err)
		}
	})
}

// closed reads until the client's Close frame, which is sent on the channel.
func closed(w *webConn) <-chan string {
	go func() {
		b := make([]byte, 1024)
		for {
			if _, err := w.Read(b); err != nil {
				return
			}
		}
	}()
	return w.closes
}

// closeFrame returns a Close of Rollcall's.
func closeFrame(t *testing.T, why protocol.CloseError) []byte {
	t.Helper()
	b, err := protocol.Binary.Append(nil, &protocol.Message{Type: protocol.TypeClose, Body: system.AppendClose(nil, &why)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The server's own Close decides why a connection has ended. Where there is none the Close of WebSocket does; the package's comment has the codes.
func TestWhyAWebSocketEnds(t *testing.T) {
	kicked := protocol.CloseError{Code: protocol.KickedOut, Text: "be nice"}
	for name, tc := range map[string]struct {
		frames string
		want   protocol.CloseCode
		text   string
		ours   string // the client's Close; "" for none
	}{
		"both":                   {serverFrame(wsframe.Binary, true, string(closeFrame(t, kicked))) + serverClose(1001, "1004 ServerStopping"), protocol.KickedOut, "be nice", "1000"},
		"a reason":               {serverClose(1008, "2002 KickedOut: be nice: please"), protocol.KickedOut, "be nice: please", "1000"},
		"a reason without text":  {serverClose(1008, "2008 SessionExpired"), protocol.SessionExpired, "", "1000"},
		"a code without a name":  {serverClose(4001, "4001 code 4001: x"), 4001, "x", "1000"},
		"a code of later":        {serverClose(1008, "2099 GoneFishing: x"), 2099, "x", "1000"},
		"no reason of ours":      {serverClose(1008, "7 days without a payment"), protocol.KickedOut, "7 days without a payment", "1000"},
		"nor this":               {serverClose(1001, "2002 messages were sent"), protocol.ServerStopping, "2002 messages were sent", "1000"},
		"nor a request's code":   {serverClose(1001, "5000 UserOffline"), protocol.ServerStopping, "5000 UserOffline", "1000"},
		"going away":             {serverClose(1001, ""), protocol.ServerStopping, "", "1000"},
		"a restart":              {serverClose(1012, ""), protocol.ServerStopping, "", "1000"},
		"too busy":               {serverClose(1013, ""), protocol.TooManyConnections, "", "1000"},
		"an error":               {serverClose(1011, ""), protocol.InternalError, "", "1000"},
		"a protocol error":       {serverClose(1002, ""), protocol.InvalidMessage, "", "1000"},
		"a large message":        {serverClose(1009, ""), protocol.MessageTooLarge, "", "1000"},
		"the application's 3xxx": {serverClose(3007, "soon"), 3007, "soon", "1000"},
		"the application's 4xxx": {serverClose(4007, "never"), 4007, "never", "1000"},
		"no failure":             {serverClose(1000, ""), protocol.NetworkError, "", "1000"},
		"no code":                {serverFrame(wsframe.Close, true, ""), protocol.NetworkError, "", "1000"},
		"a bad gateway":          {serverClose(1014, ""), protocol.NetworkError, "", "1000"},

		"a mask":               {"\x82\x81abcdx", protocol.InvalidMessage, "", "1002"},
		"a text":               {serverFrame(wsframe.Text, true, "hello"), protocol.InvalidMessage, "", "1003"},
		"a reserved bit":       {"\xC2\x00", protocol.InvalidMessage, "", "1002"},
		"a reserved opcode":    {"\x83\x00", protocol.InvalidMessage, "", "1002"},
		"a lonely fragment":    {"\x80\x00", protocol.InvalidMessage, "", "1002"},
		"a long Ping":          {"\x89\x7E\x00\x80", protocol.InvalidMessage, "", "1002"},
		"half a code":          {"\x88\x01\x03", protocol.InvalidMessage, "", "1002"},
		"no frame of Rollcall": {serverFrame(wsframe.Binary, true, "hello, hello, hello"), protocol.InvalidMessage, "", "1002"},
		"a large frame":        {serverFrame(wsframe.Binary, true, "\x52\x10\x00\x01\x7f\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"), protocol.MessageTooLarge, "", "1009"},
	} {
		over(t, transport{web: true}, name, func(t *testing.T) {
			n := sockets(t)
			cfg := client.Config{Reconnect: client.Reconnect{Max: -1}}
			changes := watch(&cfg)
			_, p := n.dial(cfg, nil)
			expect(t, changes, client.Online)
			w := p.nc.(*webConn)
			if _, err := w.Conn.Write([]byte(tc.frames)); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, "the client's Close", closed(w)); got != tc.ours {
				t.Errorf("the client closes with %s, want %s", got, tc.ours)
			}
			_ = w.Conn.Close()
			err := expect(t, changes, client.Closed)
			var ce *protocol.CloseError
			if !errors.As(err, &ce) || ce.Code != tc.want || tc.text != "" && ce.Text != tc.text {
				t.Errorf("the client ended with %v, want %v", err, tc.want)
			}
		})
	}
}

// The client's messages go on as the server's fragments and empty messages come, and a frame may begin and end anywhere.
func TestTheServersMessagesAreOneStream(t *testing.T) {
	over(t, transport{web: true}, "ws", func(t *testing.T) {
		n := sockets(t)
		got := make(chan string, 100)
		_, p := n.dial(client.Config{HandleDefault: func(_ *client.Client, m *protocol.Message) error { got <- string(m.Body); return nil }}, nil)
		w := p.nc.(*webConn)
		var stream []byte
		var bodies []string
		for i := range 50 {
			body := strings.Repeat("x", i*i*i/2)
			bodies = append(bodies, body)
			var err error
			if stream, err = protocol.Binary.Append(stream, &protocol.Message{Type: 1, Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		var wire []byte
		for op, size := byte(wsframe.Binary), 0; len(stream) > 0; size = (size*7 + 3) % 5003 {
			piece := min(size, len(stream))
			last := size%3 != 0
			wire = append(wire, serverFrame(op, last, string(stream[:piece]))...)
			if op = wsframe.Continuation; last {
				op = wsframe.Binary
			}
			if size%5 == 0 {
				wire = append(wire, serverFrame(wsframe.Pong, true, "nobody asked")...)
			}
			stream = stream[piece:]
		}
		for i := 0; len(wire) > 0; i++ {
			piece := min(1+i*i%1777, len(wire))
			if _, err := w.Conn.Write(wire[:piece]); err != nil {
				t.Fatal(err)
			}
			wire = wire[piece:]
		}
		for i, want := range bodies {
			if body := receive(t, "a message", got); body != want {
				t.Fatalf("message %d has %d bytes, want %d", i, len(body), len(want))
			}
		}
	})
}

// What the server has not ended is a lost connection.
func TestAWebSocketThatIsCutOffIsLost(t *testing.T) {
	for name, tc := range map[string]struct{ frames, text string }{
		"at once":              {"", "without a Close"},
		"within a header":      {"\x82", "within a message of WebSocket"},
		"within a message":     {"\x82\x05\x52", "within a message of WebSocket"},
		"between fragments":    {"\x02\x00", "within a message of WebSocket"},
		"within a Close frame": {"\x88\x02", "within a message of WebSocket"},
	} {
		over(t, transport{web: true}, name, func(t *testing.T) {
			n := sockets(t)
			cfg := client.Config{Reconnect: client.Reconnect{Max: -1}}
			changes := watch(&cfg)
			_, p := n.dial(cfg, nil)
			expect(t, changes, client.Online)
			w := p.nc.(*webConn)
			_, _ = w.Conn.Write([]byte(tc.frames))
			_ = w.Conn.Close()
			if err := expect(t, changes, client.Closed); code(t, err) != protocol.NetworkError || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("the client ended with %v", err)
			}
		})
	}
}

// The client's Close comes first, and then a Close of WebSocket, behind which nothing follows; the server ends the connection.
func TestTheClientClosesTheWebSocketLast(t *testing.T) {
	over(t, transport{web: true}, "ws", func(t *testing.T) {
		n := sockets(t)
		c, p := n.dial(client.Config{}, nil)
		ended := make(chan error, 1)
		go func() { ended <- c.Close() }()
		if got := p.readEnd(); len(got) != 1 || got[0].Type != protocol.TypeClose {
			t.Errorf("the client sends %v", got)
		}
		w := p.nc.(*webConn)
		if got := <-w.closes; got != "1000" {
			t.Errorf("the client closes with %s", got)
		}
		_, _ = w.Conn.Write([]byte(serverFrame(wsframe.Ping, true, "late") + serverClose(1000, "")))
		_ = w.Conn.Close()
		if err := receive(t, "the end of Close", ended); err != nil {
			t.Error(err)
		}
	})
}

// A server that closes and does not end its side holds the client up for a second at most.
func TestAServerThatHasClosedIsNotWaitedForLong(t *testing.T) {
	over(t, transport{web: true}, "ws", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cfg := client.Config{Reconnect: client.Reconnect{Min: time.Hour, Max: time.Hour}}
			changes := watch(&cfg)
			c, p := pipes(t).dial(cfg, nil)
			expect(t, changes, client.Online)
			asked := make(chan error, 1)
			began := time.Now()
			go func() {
				_, err := c.Request(context.Background(), 1, nil)
				asked <- err
			}()
			p.read()
			p.notice(protocol.CloseError{Code: protocol.ServerStopping})
			if err := <-asked; !errors.Is(err, client.ErrDisconnected) || code(t, err) != protocol.ServerStopping || time.Since(began) > 0 {
				t.Errorf("the request ends with %v after %v", err, time.Since(began))
			}
			if err := expect(t, changes, client.Reconnecting); code(t, err) != protocol.ServerStopping || time.Since(began) != time.Second {
				t.Errorf("the connection ends with %v after %v", err, time.Since(began))
			}
		})
	})
}

// A server that closes a connection learns that the client has read why.
func TestAKickOverWebSocketIsTold(t *testing.T) {
	eachTransport(t, func(t *testing.T) {
		srv := newServer(t, rollcall.Config{}, nil)
		c := join(t, srv, "alice", client.Config{})
		wait, err := srv.Users.Kick("alice", &usermgr.KickOptions{Text: "be nice"})
		if err != nil {
			t.Fatal(err)
		}
		receive(t, "the end of the client", c.Done())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if kicked, err := wait(ctx); err != nil || len(kicked) != 1 || kicked[0].Outcome != protocol.OutcomeTold {
			t.Errorf("the kick ended with %+v, %v", kicked, err)
		}
	})
}
