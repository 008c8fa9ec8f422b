package main

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/rollcall-go/rollcall/protocol"
)

var frameScenarios = []scenario{
	{
		name: "byte-by-byte", heading: framesHeading, needs: "tcp",
		rule: "frames may come in pieces of any size",
		run: func(t *trial) {
			s := t.listenOn("tcp", nil)
			t.dial(s, nil)
			c := s.accept()
			m, _ := c.logon()
			c.inPieces(frame(c.accepted(m, "alice", fields{"session": "s1", "heartbeat-ms": "10000"})))
			t.state("online")
			c.inPieces(frame(&protocol.Message{Type: plainType, UserID: "Zoë", DestUserID: "alice", Body: []byte("one")}))
			if e := t.nextEvent("message"); e.body() != "one" || e.From != "Zoë" {
				t.failf("got %s, want one from Zoë", &e)
			}
			c.inPieces(frame(pushOf(1, 2, true, "", fields{"k": "v"}, "two")))
			if e := t.handed(1); e.body() != "two" {
				t.failf("got %s, want two", &e)
			}
			c.wantAck(1)
			t.do(command{"do": "request", "tag": "a", "type": 1, "body": "00"})
			c.inPieces(frame(answer(c.wantRequest(1, "", "\x00"), "", "three")))
			if e := t.tagged("reply", "a"); e.body() != "three" {
				t.failf("got %s, want three", &e)
			}
		},
	},
	{
		name: "many-in-one-piece", heading: framesHeading,
		rule: "many frames may come in one piece, and are told in their order",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			var all []*protocol.Message
			for i := range 500 {
				all = append(all, message(fmt.Sprintf("number %d%s", i, strings.Repeat(".", i))))
			}
			c.sendAll(all...)
			for _, m := range all {
				if e := t.nextEvent("message"); e.body() != string(m.Body) {
					t.failf("got %s, want %q", &e, shorten(string(m.Body), 40))
				}
			}
		},
	},
	{
		name: "bad-frames", heading: framesHeading,
		rule: "a frame that breaks the rules ends the connection with a Close with InvalidMessage, or MessageTooLarge, and the client with it",
		run: func(t *trial) {
			s := t.listen()
			for _, bad := range badFrames() {
				c := t.logOn(s, nil, nil)
				c.write(bad.bytes, "%s: %x", bad.name, bad.bytes[:min(len(bad.bytes), 40)])
				c.wantClose(bad.code)
				c.wantEnd()
				t.closed(int(bad.code), false)
				t.stays(s, 0)
			}
		},
	},
	{
		name: "odd-user-ids", heading: framesHeading,
		rule: "a user ID is any UTF-8 without control characters, and nothing is normalised",
		run: func(t *trial) {
			long := strings.Repeat("é", 127) + "x"
			s := t.listen()
			for _, user := range []string{"Zoë 王😀", "a\u200b\u202eb", long, "E\u0301"} {
				t.dial(s, command{"user": user})
				c := s.accept()
				m, _ := c.logon()
				if m.UserID != user {
					t.failf("got a Logon of %q, want %q", m.UserID, user)
				}
				c.send(c.accepted(m, user, fields{"session": "s1"}))
				if e := t.state("online"); e.User != user {
					t.failf("got the user %q, want %q", e.User, user)
				}
				t.do(command{"do": "send", "tag": "1", "type": 1, "to": user, "body": ""})
				if m := c.want(plainType, "the message"); m.DestUserID != user {
					t.failf("got a message to %q, want %q", m.DestUserID, user)
				}
				t.tagged("done", "1")
				c.send(&protocol.Message{Type: plainType, UserID: user})
				if e := t.nextEvent("message"); e.From != user {
					t.failf("got a message from %q, want %q", e.From, user)
				}
				t.do(command{"do": "close"})
				t.closed(1000, true)
			}
		},
	},
	{
		name: "user-ids-not-sent", heading: framesHeading,
		rule: "a client sends nothing to a user ID that is too long or has control characters: the reason is invalid",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			for i, to := range []string{strings.Repeat("u", 256), strings.Repeat("é", 128), "a\nb", "\t", "a\x00b", "\x7f", "alice\u0085", "\u009f"} {
				tag := fmt.Sprint(i)
				t.do(command{"do": "send", "tag": tag, "type": 1, "to": to, "body": "00"})
				t.refused(tag, "invalid")
				t.do(command{"do": "request", "tag": "r" + tag, "type": 1, "to": to, "body": "00", "timeout_ms": 20000})
				t.refused("r"+tag, "invalid")
			}
			c.fence()
		},
	},
	{
		name: "users-that-may-not-log-on", heading: framesHeading,
		rule: "a client does not log on with a user ID that is reserved, too long or has control characters",
		run: func(t *trial) {
			s := t.listen()
			for _, user := range []string{"_x", "_0", "_", strings.Repeat("u", 256), "a\nb", "alice\u0085"} {
				t.dial(s, command{"user": user})
				t.state("closed")
				t.stays(s, 0)
			}
			t.stays(s, quiet)
		},
	},
	{
		name: "fields-that-may-not-be-sent", heading: stringMapHeading,
		rule: "a key has 1 to 255 bytes and a value up to 65,535: a client does not log on with others",
		run: func(t *trial) {
			s := t.listen()
			for _, f := range []fields{{"": "v"}, {strings.Repeat("k", 256): "v"}, {strings.Repeat("é", 128): "v"}, {"k": strings.Repeat("v", 65536)}} {
				t.dial(s, command{"fields": f})
				t.state("closed")
			}
			for _, f := range []fields{{strings.Repeat("k", 255): ""}, {"\x00": strings.Repeat("é", 1000)}} {
				t.dial(s, command{"fields": f})
				for {
					c := s.accept()
					if m, ok := c.frames.next(t.patience()); ok {
						got, err := protocol.AppendStringMap(nil, f)
						check(err)
						if m.Type != protocol.TypeLogon || string(m.Body) != string(got) {
							t.failf("got %s, want a Logon with the fields %s", describe(m), shorten(fmt.Sprint(f), 80))
						}
						c.send(c.accepted(m, "", nil))
						break
					}
				}
				t.state("online")
				t.do(command{"do": "close"})
				t.closed(1000, true)
			}
		},
	},
	{
		name: "unknown-system-types", heading: systemHeading,
		rule: "messages of the system that a client does not know are ignored, requests too",
		run: func(t *trial) {
			_, c := t.session(nil, nil)
			for _, typ := range []uint16{0xFF0B, 0xFF42, 0xFFFF} {
				c.send(&protocol.Message{Type: typ, Body: []byte("later")})
				c.send(&protocol.Message{Type: typ, ID: 7})
				c.send(&protocol.Message{Type: typ, ID: 7, Flags: protocol.FlagReply})
			}
			t.eventFence(c)
			c.fence()
		},
	},
	{
		name: "error-with-info", heading: codeHeading,
		rule: "a code and a text may be followed by a string map, of which keys that are not known are ignored",
		run: func(t *trial) {
			s, c := t.session(nil, nil)
			t.do(command{"do": "request", "tag": "a", "type": 1, "body": ""})
			c.send(refusal(c.wantRequest(1, "", ""), "", 5130, "grün", fields{"retry-ms": "250", "later": "x"}))
			if e := t.refused("a", "refused"); e.Code != 5130 || e.Text != "grün" {
				t.failf("got %s, want the code 5130 and the text grün", &e)
			}
			c.close(protocol.ServerStopping, "grün", fields{"later": "x", "address": ""})
			if e := t.lost(1004); e.Text != "grün" {
				t.failf("got the text %q, want grün", e.Text)
			}
			t.again(s, nil)
		},
	},
}

// badFrame is one that a client must refuse.
type badFrame struct {
	name  string
	bytes []byte
	code  protocol.CloseCode
}

func badFrames() []badFrame {
	changed := func(at int, b ...byte) []byte {
		f := frame(&protocol.Message{Type: 1, ID: 7, UserID: "bob", DestUserID: "alice", Body: []byte("hello")})
		copy(f[at:], b)
		return f
	}
	long := func(n uint32) []byte {
		f := changed(4, binary.BigEndian.AppendUint32(nil, n)...)
		f[12], f[13] = 0, 0
		return f[:16]
	}
	return []badFrame{
		{"wrong magic", changed(0, 0x53), protocol.InvalidMessage},
		{"version 2", changed(1, 0x20), protocol.InvalidMessage},
		{"flag 4", changed(1, 0x14), protocol.InvalidMessage},
		{"flag 8", changed(1, 0x18), protocol.InvalidMessage},
		{"an error that is no reply", changed(1, 0x12), protocol.InvalidMessage},
		{"type 0", changed(2, 0, 0), protocol.InvalidMessage},
		{"user IDs longer than the length", changed(4, 0, 0, 0, 7), protocol.InvalidMessage},
		{"a user ID that is not UTF-8", changed(16, 'b', 0xFF), protocol.InvalidMessage},
		{"a user ID with a line feed", changed(16, 'b', '\n'), protocol.InvalidMessage},
		{"a destination with DEL", changed(19, 0x7F), protocol.InvalidMessage},
		{"a body of 1 MiB and a byte", long(1<<20 + 1), protocol.MessageTooLarge},
		{"a length that wraps 32 bits", long(0xFFFFFFF0), protocol.MessageTooLarge},
		{"the largest length", long(0xFFFFFFFF), protocol.MessageTooLarge},
	}
}
