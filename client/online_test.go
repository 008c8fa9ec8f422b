package client_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

func TestWhoIsOnlineIsTheServersAnswer(t *testing.T) {
	refused := system.AppendClose(nil, &protocol.CloseError{Code: protocol.Refused, Text: "no"})
	for name, tc := range map[string]struct {
		flags protocol.Flags
		body  []byte
		want  []string
		code  protocol.CloseCode
	}{
		"some":                   {0, []byte("\x00\x02\x03bob\x05alice"), []string{"bob", "alice"}, 0},
		"nobody":                 {0, []byte("\x00\x00"), []string{}, 0},
		"not allowed":            {protocol.FlagError, refused, nil, protocol.Refused},
		"an answer that is none": {0, []byte("\x00\x02\x03bob"), nil, protocol.InvalidMessage},
	} {
		t.Run(name, func(t *testing.T) {
			n := sockets(t)
			c, p := n.dial(client.Config{}, nil)
			go func() {
				m := p.read()
				if m.Type != protocol.TypeWhoIsOnline || m.Flags != 0 || m.ID == 0 || m.DestUserID != "" ||
					string(m.Body) != "\x00\x03\x03bob\x05carol\x05alice" {
					t.Errorf("the question is %+v", m)
				}
				p.write(protocol.Message{Type: m.Type, Flags: protocol.FlagReply | tc.flags, ID: m.ID, Body: tc.body})
			}()
			got, err := c.WhoIsOnline(t.Context(), "bob", "carol", "alice")
			if tc.code != 0 {
				if code(t, err) != tc.code || got != nil {
					t.Errorf("the answer is %v, %v", got, err)
				}
			} else if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("the answer is %v, %v; want %v", got, err, tc.want)
			}
			if c.State() != client.Online {
				t.Errorf("the client is %v", c.State())
			}
		})
	}
}

func TestWhoIsOnlineAsksOnlyWhatCanBeAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := pipes(t).dial(client.Config{MaxBody: 100}, nil)
		for name, ids := range map[string][]string{
			"1,001 users":   slices.Repeat([]string{"u"}, system.MaxIDList+1),
			"an empty ID":   {"alice", ""},
			"an ID no user": {"a\nb"},
		} {
			if got, err := c.WhoIsOnline(t.Context(), ids...); err == nil || got != nil {
				t.Errorf("%s: %v, %v", name, got, err)
			}
		}
		if _, err := c.WhoIsOnline(t.Context(), slices.Repeat([]string{"u"}, 50)...); !errors.Is(err, protocol.MessageTooLarge) {
			t.Errorf("over MaxBody: %v", err)
		}
		_ = p.nc.Close()
		synctest.Wait()
		if _, err := c.WhoIsOnline(t.Context(), "bob"); !errors.Is(err, client.ErrNotConnected) {
			t.Errorf("without a connection: %v", err)
		}
	})
}
