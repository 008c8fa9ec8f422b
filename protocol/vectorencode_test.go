package protocol_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// encodingCase is a frame that clients send: what it is made of, and its bytes, which the table spells out.
type encodingCase struct {
	name, what string
	message    protocol.Message // without its body
	argument   string           // what the body is made of, as vectors.txt has it
	text       string
	info       map[string]string
	frame      []byte
}

func encodingCases() []encodingCase {
	type m = protocol.Message
	const reply, errorReply = protocol.FlagReply, protocol.FlagReply | protocol.FlagError
	made := func(name, what, argument string, m protocol.Message, content string) encodingCase {
		return encodingCase{name: name, what: what, message: m, argument: argument,
			frame: raw(0x52, byte(m.Flags), m.Type, m.ID, m.Device, m.UserID, m.DestUserID, text(content))}
	}
	coded := func(c encodingCase, text string, info map[string]string) encodingCase {
		c.text, c.info = text, info
		return c
	}
	withMap := func(name, what string, head protocol.Message, fields map[string]string, content string) encodingCase {
		return made(name, what, pairs(fields), head, content)
	}
	all := "\xc2\x80\x00" // U+0080 and NUL: a value is any text
	return []encodingCase{
		made("a message to the server", "message", "68656c6c6f", m{Type: 1}, "hello"),
		made("a message without a body", "message", "", m{Type: 0xFEFF}, ""),
		made("a message to a user", "message", "00ff0a", m{Type: 0x0102, DestUserID: "Zoë"}, "\x00\xff\x0a"),
		made("a message with a sender and a device", "message", "68656c6c6f", m{Type: 1, Device: 0x0506, UserID: "alice", DestUserID: "bob"}, "hello"),
		made("a request to the server", "message", "70696e67", m{Type: 2, ID: 0x5C3A0E91}, "ping"),
		made("a request to a user", "message", "70696e67", m{Type: 2, ID: 0xFFFFFFFF, DestUserID: "bob"}, "ping"),
		made("an answer to the server", "reply", "6f6b", m{Type: 3, Flags: reply, ID: 5}, "ok"),
		made("an answer to a user", "reply", "796573", m{Type: 1, Flags: reply, ID: 0x5C3A0E91, DestUserID: "alice"}, "yes"),
		coded(made("an error reply to the server", "error-reply", "5001", m{Type: 9, Flags: errorReply, ID: 7}, "\x13\x89\x00\x00"), "", nil),
		coded(made("an error reply to a user, with a text", "error-reply", "5003", m{Type: 1, Flags: errorReply, ID: 7, DestUserID: "bob"},
			"\x13\x8b\x00\x05gr\xc3\xbcn"), "grün", nil),
		coded(made("an error reply with keys", "error-reply", "5003", m{Type: 1, Flags: errorReply, ID: 7},
			"\x13\x8b\x00\x02no\x01\x08retry-ms\x00\x03250"), "no", map[string]string{"retry-ms": "250"}),
		coded(made("a close", "close", "1000", m{Type: protocol.TypeClose}, "\x03\xe8\x00\x00"), "", nil),
		coded(made("a close with a text", "close", "2004", m{Type: protocol.TypeClose}, "\x07\xd4\x00\x09bad frame"), "bad frame", nil),
		withMap("a logon without fields", "logon", m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"}, nil, "\x00"),
		withMap("a logon with a token and a device", "logon", m{Type: protocol.TypeLogon, ID: 1, Device: 2, UserID: "alice"},
			map[string]string{"token": "t:7"}, "\x01\x05token\x00\x03t:7"),
		withMap("a logon by token alone", "logon", m{Type: protocol.TypeLogon, ID: 9}, map[string]string{"token": "t:7"}, "\x01\x05token\x00\x03t:7"),
		withMap("a logon of a client that comes back", "logon", m{Type: protocol.TypeLogon, ID: 1, UserID: "Zoë"},
			map[string]string{"token": "t:7", "session": "0197abcd"}, "\x02\x07session\x00\x080197abcd\x05token\x00\x03t:7"),
		withMap("a logon with fields in the order of their bytes", "logon", m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"},
			map[string]string{"é": "1", "z": "2", "Z": "", "za": all}, "\x04\x01Z\x00\x00\x01z\x00\x012\x02za\x00\x03"+all+"\x02\xc3\xa9\x00\x011"),
		withMap("a logon with a key beyond U+FFFF, whose bytes are the largest", "logon", m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"},
			map[string]string{"😀": "2", "\uff5e": "1"}, "\x02\x03\xef\xbd\x9e\x00\x011\x04\xf0\x9f\x98\x80\x00\x012"),
		withMap("a logon with keys that a language may have for itself", "logon", m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"},
			map[string]string{"__proto__": "p", "constructor": "c"}, "\x02\x09__proto__\x00\x01p\x0bconstructor\x00\x01c"),
		withMap("a renewal", "renew", m{Type: protocol.TypeRenew, ID: 5}, map[string]string{"token": "fresh"}, "\x01\x05token\x00\x05fresh"),
		made("a heartbeat", "heartbeat", "", m{Type: protocol.TypeHeartbeat}, ""),
		made("a heartbeat that asks", "heartbeat", "", m{Type: protocol.TypeHeartbeat, ID: 0x4D}, ""),
		made("the answer to a heartbeat", "heartbeat-reply", "", m{Type: protocol.TypeHeartbeat, Flags: reply, ID: 0x4D}, ""),
		made("a push acknowledged", "push-ack", pushIDText, m{Type: protocol.TypePushAck}, string(bytesOfHex(pushIDHex))),
		made("who is online", "who-is-online", listed([]string{"carol", "bob", "Zoë", "bob"}), m{Type: protocol.TypeWhoIsOnline, ID: 8},
			"\x00\x04\x05carol\x03bob\x04Zo\xc3\xab\x03bob"),
		made("who is online, of a list of none", "who-is-online", "", m{Type: protocol.TypeWhoIsOnline, ID: 8}, "\x00\x00"),
	}
}

// sendCase is a text that a client must refuse to send, or may not refuse: bytes, so many times.
type sendCase struct {
	may        bool
	name, what string
	bytes      string
	times      int
}

func sendCases() (all []sendCase) {
	both := func(may bool, name, bytes string, times int, whats ...string) {
		for _, what := range whats {
			all = append(all, sendCase{may, what + ": " + name, what, bytes, times})
		}
	}
	id := []string{"user", "dest", "listed"}
	both(false, "empty", "", 1, "listed", "key")
	both(false, "256 bytes", "u", 256, id...)
	both(false, "256 bytes in UTF-8, 128 characters", "é", 128, id...)
	for _, c := range []struct{ name, bytes string }{
		{"a NUL", "a\x00b"}, {"a line feed", "alice\n"}, {"a tab", "\tbob"}, {"U+001F", "\x1f"}, {"DEL", "a\x7f"}, {"U+0080", "a\u0080"},
		{"U+0085", "alice\u0085"}, {"U+009F", "a\u009fb"},
		{"not UTF-8", "ali\xffce"}, {"an end within a character", "ali\xc3"}, {"an overlong encoding", "\xc0\x80"}, {"a surrogate", "\xed\xa0\x80"},
	} {
		both(false, c.name, c.bytes, 1, id...)
	}
	both(false, "the server's name", "_0", 1, "user")
	both(false, "reserved", "_x", 1, "user")
	both(false, "an underscore alone", "_", 1, "user")
	both(false, "256 bytes", "k", 256, "key")
	both(false, "256 bytes in UTF-8, 128 characters", "é", 128, "key")
	both(false, "not UTF-8", "k\xff", 1, "key", "value")
	both(false, "65,536 bytes", "v", 65536, "value")
	both(false, "65,536 bytes in UTF-8, 32,768 characters", "é", 32768, "value")

	both(true, "one byte", "a", 1, id...)
	both(true, "255 bytes", "u", 255, id...)
	both(true, "254 bytes in UTF-8, 127 characters", "é", 127, id...)
	both(true, "spaces and a character beyond U+FFFF", " 😀 \u00a0", 1, id...)
	both(true, "a character that takes no room, and one that turns the direction", "a\u200b\u202eb", 1, id...)
	both(true, "an underscore behind a letter", "a_", 1, id...)
	both(true, "255 bytes", "k", 255, "key")
	both(true, "a NUL", "\x00", 1, "key", "value")
	both(true, "__proto__", "__proto__", 1, "key", "value")
	both(true, "constructor", "constructor", 1, append(id, "key", "value")...)
	both(true, "empty", "", 1, "value")
	both(true, "65,535 bytes", "v", 65535, "value")
	return all
}

// The encoder makes the bytes that the table spells out.
func TestEncodingVectors(t *testing.T) {
	for _, c := range encodingCases() {
		m := c.message
		var err error
		switch c.what {
		case "logon", "renew":
			m.Body, err = protocol.AppendStringMap(nil, mapOf(t, c.argument))
		case "close", "error-reply":
			m.Body = system.AppendClose(nil, &protocol.CloseError{Code: codeNumber(t, c.argument), Text: c.text, Info: c.info})
		case "push-ack":
			m.Body = system.AppendPushAck(nil, uuid.MustParse(c.argument))
		case "who-is-online":
			var ids []string
			for _, id := range strings.FieldsFunc(c.argument, func(r rune) bool { return r == ',' }) {
				ids = append(ids, string(bytesOf(t, id)))
			}
			m.Body, err = system.AppendIDList(nil, ids)
		default:
			m.Body = bytesOf(t, c.argument)
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got, err := protocol.Binary.Append(nil, &m); err != nil || !bytes.Equal(got, c.frame) {
			t.Errorf("%s: Append = %x, %v; want %x", c.name, got, err, c.frame)
		}
	}
}

// The checks of this module refuse what must not be sent, and nothing else.
func TestSendVectors(t *testing.T) {
	for _, c := range sendCases() {
		s := strings.Repeat(c.bytes, c.times)
		var err error
		switch c.what {
		case "user":
			err = protocol.CheckUserID(s)
		case "dest":
			_, err = protocol.Binary.Append(nil, &protocol.Message{Type: 1, DestUserID: s})
		case "listed":
			_, err = system.AppendIDList(nil, []string{s})
		case "key":
			_, err = protocol.AppendStringMap(nil, map[string]string{s: ""})
		case "value":
			_, err = protocol.AppendStringMap(nil, map[string]string{"k": s})
		default:
			t.Fatalf("%s: %q is nothing that is sent", c.name, c.what)
		}
		if (err == nil) != c.may {
			t.Errorf("%s: %v, may be sent: %v", c.name, err, c.may)
		}
	}
}

func codeNumber(t *testing.T, s string) (code protocol.CloseCode) {
	t.Helper()
	for _, r := range s {
		code = code*10 + protocol.CloseCode(r-'0')
	}
	return code
}

func mapOf(t *testing.T, s string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, pair := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		k, v, _ := strings.Cut(pair, "=")
		m[string(bytesOf(t, k))] = string(bytesOf(t, v))
	}
	return m
}
