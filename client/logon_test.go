package client_test

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFramesAreByteForByteAsTheProtocolHasThem(t *testing.T) {
	n := sockets(t)
	cfg := client.Config{UserID: "alice", Device: 2, Fields: map[string]string{"token": "t:7"}, DialContext: n.dialContext}
	dialled := make(chan *client.Client, 1)
	go func() {
		c, err := client.Dial(context.Background(), "first:1", cfg)
		if err != nil {
			t.Error(err)
		}
		dialled <- c
	}()
	p := n.accept()
	read := func(what, want string) {
		t.Helper()
		w := unhex(t, want)
		if got := p.readBytes(len(w)); string(got) != string(w) {
			t.Fatalf("%s is\n%x, want\n%x", what, got, w)
		}
	}
	read("the Logon", "52 10 ff01 00000011 00000001 05 00 0002 616c696365 01 05 746f6b656e 0003 743a37")
	p.writeBytes(unhex(t, "52 11 ff01 00000029 00000001 00 00 0000 0000 02"+
		"0c6865617274626561742d6d7300053130303030 0773657373696f6e00083031393761626364"))
	c := <-dialled
	defer closeAndWait(t, c)
	if err := c.SendTo("bob", 1, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	read("a message to bob", "52 10 0001 00000008 00000000 00 03 0000 626f62 68656c6c6f")

	ended := make(chan error, 1)
	go func() {
		_, err := c.Request(context.Background(), 0x102, []byte("?"))
		ended <- err
	}()
	read("a request", "52 10 0102 00000001")
	id := p.readBytes(4) // a random number
	read("the rest of it", "00 00 0000 3f")
	p.writeBytes(slices.Concat(unhex(t, "52 11 0102 00000000"), id, unhex(t, "00 00 0000")))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	p.writeBytes(unhex(t, "52 10 ff00 00000000 0000004d 00 00 0000"))
	read("the answer to the server's Heartbeat", "52 11 ff00 00000000 0000004d 00 00 0000")

	go c.Close()
	read("the Close", "52 10 ff02 00000004 00000000 00 00 0000 03e8 0000")
	if rest := p.readEnd(); len(rest) > 0 {
		t.Errorf("after the Close comes %v", rest)
	}
	_ = p.nc.Close()
}

func TestTheSessionIsWhatTheLogonsReplySays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipes(t).dial(client.Config{}, map[string]string{"session": "0197abcd"})
		if c.SessionID() != "0197abcd" || c.UserID() != "alice" || c.State() != client.Online || c.Err() != nil {
			t.Errorf("session %q of %q, %v, %v", c.SessionID(), c.UserID(), c.State(), c.Err())
		}
	})
}

func TestARefusedLogonIsDialsError(t *testing.T) {
	unauthorized := protocol.CloseError{Code: protocol.Unauthorized, Text: "bad token", Info: map[string]string{"a": "b"}}
	for _, tc := range []struct {
		name   string
		answer func(p *peer, logon *protocol.Message)
		want   protocol.CloseCode
	}{
		{"refused in the reply", func(p *peer, logon *protocol.Message) { p.refuse(logon, unauthorized) }, protocol.Unauthorized},
		{"closed without a reply", func(p *peer, _ *protocol.Message) {
			p.notice(protocol.CloseError{Code: protocol.TooManyConnections})
		}, protocol.TooManyConnections},
		{"cut off", func(p *peer, _ *protocol.Message) { _ = p.nc.Close() }, protocol.NetworkError},
		{"another frame first", func(p *peer, _ *protocol.Message) { p.write(protocol.Message{Type: 1}) },
			protocol.InvalidMessage},
		{"the reply to another request", func(p *peer, logon *protocol.Message) {
			p.write(protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: logon.ID + 1, Body: []byte{0, 0}})
		}, protocol.InvalidMessage},
		{"another server", func(p *peer, _ *protocol.Message) { p.writeBytes([]byte("HTTP/1.1 400 Bad Request\r\n")) },
			protocol.InvalidMessage},
		{"refused with the code 0", func(p *peer, logon *protocol.Message) { p.refuse(logon, protocol.CloseError{}) },
			protocol.InvalidMessage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := client.Config{UserID: "alice"}
			changes := watch(&cfg)
			if got := code(t, sockets(t).refusal(cfg, tc.answer)); got != tc.want {
				t.Errorf("the code is %v, want %v", got, tc.want)
			}
			if len(changes) > 0 {
				t.Errorf("OnState was called: %v", <-changes)
			}
		})
	}
}

func TestDialGivesUpInTime(t *testing.T) {
	for _, tc := range []struct {
		name string
		ctx  time.Duration
		cfg  time.Duration
		want time.Duration
	}{
		{"after 15 s", time.Hour, 0, 15 * time.Second},
		{"after Timeouts.Dial", time.Hour, time.Second, time.Second},
		{"with its context", time.Minute, -1, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := pipes(t)
				go func() { n.accept().read() }() // and no answer
				ctx, cancel := context.WithTimeout(t.Context(), tc.ctx)
				defer cancel()
				began := time.Now()
				_, err := client.Dial(ctx, "first:1", client.Config{UserID: "alice", Timeouts: client.Timeouts{Dial: tc.cfg}, DialContext: n.dialContext})
				if took := time.Since(began); took != tc.want || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("after %v: %v; want a deadline error after %v", took, err, tc.want)
				}
			})
		})
	}
}

func TestDialDoesNotTryAgain(t *testing.T) {
	n := pipes(t)
	down := errors.New("no route")
	n.fail <- down
	_, err := client.Dial(t.Context(), "first:1", client.Config{UserID: "alice", DialContext: n.dialContext})
	if !errors.Is(err, down) || len(n.dials) != 1 {
		t.Errorf("%d attempts, and %v", len(n.dials), err)
	}
}

func TestDialRefusesWhatCannotBeSent(t *testing.T) {
	for name, cfg := range map[string]client.Config{
		"a reserved user ID":         {UserID: "_0"},
		"a user ID of control bytes": {UserID: "a\nb"},
		"a field without a name":     {UserID: "a", Fields: map[string]string{"": "x"}},
		"a token that is not UTF-8":  {UserID: "a", Token: fixedToken("\xff")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
				t.Error("the client connects")
				return nil, errors.New("no")
			}
			if _, err := client.Dial(t.Context(), "first:1", cfg); err == nil {
				t.Error("Dial returns no error")
			}
		})
	}
}

func fixedToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// Without a token of Token's own a Logon has that of Fields.
func TestTokenIsAskedForEveryLogonAndWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := pipes(t)
		tokens := make(chan string, 3)
		tokens <- "one"
		tokens <- "two"
		tokens <- ""
		cfg := client.Config{UserID: "alice", Fields: map[string]string{"token": "old", "app": "x"}, DialContext: n.dialContext,
			Token: func(context.Context) (string, error) { return <-tokens, nil }}
		go func() {
			c, err := client.Dial(context.Background(), "first:1", cfg)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { closeAndWait(t, c) })
		}()
		p := n.accept()
		for _, want := range []string{"one", "two", "old"} {
			fields, err := system.ParseStringMap(p.welcome(nil).Body)
			if err != nil || fields["token"] != want || fields["app"] != "x" {
				t.Errorf("the Logon carries %v (%v), want the token %s", fields, err, want)
			}
			if want != "old" {
				_ = p.nc.Close()
				p = n.accept()
			}
		}
	})
}
