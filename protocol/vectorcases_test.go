package protocol_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/rollcall-go/rollcall/protocol"
)

var aboutVectors = []string{
	"Frames of Rollcall's binary wire format, for testing a client in any language; docs/protocol.md describes them.",
	"Each vector has exactly one of: valid (the fields, and what the body means), error (the frame is refused with that",
	"close code, by a decoder with these limits, once refused_at of its bytes are there), need (the frame is unfinished;",
	"it is not worth looking again before that many bytes are there). max_body and max_frame are the decoder's limits",
	"in bytes, absent is none. A valid frame is also what an encoder makes of the fields. body.error_code says that the",
	"frame is fine and its body is not: the string map of a Logon or a Renew, a Push, a PushAck, WhoIsOnline's ID list, or",
	"the operation of a Presence, Contacts, Group or Chat, which docs/chat.md describes, with its lists. Numbers of messages",
	"and groups are strings here, because they have up to 63 bits. refused_at binds servers: a client must find the same code,",
	"and may find it later, with more bytes of the frame. vectors.txt has what a client needs of this, one vector a line.",
}

const (
	toServer = "client-to-server"
	toClient = "server-to-client"
	both     = "both"
)

func vectorCases() []vector {
	var all []vector
	all = append(all, plainVectors()...)
	all = append(all, systemVectors()...)
	all = append(all, renewVectors()...)
	all = append(all, mapVectors()...)
	all = append(all, pushVectors()...)
	all = append(all, pushErrorVectors()...)
	all = append(all, onlineVectors()...)
	all = append(all, presenceVectors()...)
	all = append(all, contactVectors()...)
	all = append(all, groupVectors()...)
	all = append(all, chatVectors()...)
	all = append(all, refusedVectors()...)
	all = append(all, limitVectors()...)
	return append(all, unfinishedVectors()...)
}

func text(s string) []byte { return []byte(s) }

// good is a valid frame put together from m.
func good(name, direction string, m vectorMessage, content []byte, b *body) vector {
	var flags byte
	if m.Reply {
		flags |= 1
	}
	if m.Error {
		flags |= 2
	}
	f := raw(0x52, flags, m.Type, m.ID, m.Device, m.UserID, m.DestUserID, content)
	m.BodyHex, m.Body = hex.EncodeToString(content), b
	return vector{Name: name, Direction: direction, Hex: hex.EncodeToString(f), Valid: &m}
}

func bad(name, direction string, frame []byte, at int, code protocol.CloseCode) vector {
	return vector{Name: name, Direction: direction, Hex: hex.EncodeToString(frame), Error: code.Error(), Code: code,
		RefusedAt: at}
}

func limited(v vector, maxBody, maxFrame int) vector {
	v.MaxBody, v.MaxFrame = maxBody, maxFrame
	return v
}

func plainVectors() []vector {
	long := strings.Repeat("u", 255)
	wide := strings.Repeat("é", 127) + "x"
	type m = vectorMessage
	return []vector{
		good("empty message", both, m{Type: 1}, nil, nil),
		good("one-way message", toServer, m{Type: 1, UserID: "alice", DestUserID: "bob"}, text("hello"), nil),
		good("message to the server, user ID left out", toServer, m{Type: 2, ID: 1}, text("ping"), nil),
		good("message to the server by its name", toServer, m{Type: 2, ID: 1, DestUserID: "_0"}, text("ping"), nil),
		good("request", toServer, m{Type: 0x0102, ID: 0x01020304, Device: 0x0506, UserID: "alice", DestUserID: "bob"},
			text("hi"), nil),
		good("reply from the server", toClient, m{Type: 0x0102, Reply: true, ID: 0x01020304}, text("sent"), nil),
		good("reply without a body", toClient, m{Type: 0x0102, Reply: true, ID: 9}, nil, nil),
		good("relayed message", toClient, m{Type: 1, UserID: "alice", DestUserID: "bob"}, text("hello"), nil),
		good("relayed message with its sender only", toClient, m{Type: 1, UserID: "alice"}, text("hello"), nil),
		good("push from the server", toClient, m{Type: 3, ID: 5}, text("news"), nil),
		good("lowest application type", both, m{Type: 0x0001}, nil, nil),
		good("highest application type", both, m{Type: 0xFEFF}, nil, nil),
		good("highest system type", both, m{Type: 0xFFFF}, nil, nil),
		good("highest message ID and device", both, m{Type: 1, ID: 0xFFFFFFFF, Device: 0xFFFF}, nil, nil),
		good("user IDs of 255 bytes", both, m{Type: 1, UserID: long, DestUserID: long}, text("x"), nil),
		good("user IDs of 255 bytes in UTF-8, no body", both, m{Type: 1, UserID: wide, DestUserID: wide}, nil, nil),
		good("user IDs beyond ASCII, with spaces", both, m{Type: 1, UserID: "Zoë 王", DestUserID: "😀 \u00a0"}, nil, nil),
		good("user IDs are case-sensitive and not normalised", both, m{Type: 1, UserID: "É", DestUserID: "E\u0301"},
			nil, nil),
		good("a reserved user ID is well-formed", both, m{Type: 1, UserID: "_x", DestUserID: "_"}, nil, nil),
		good("a body may be any bytes", both, m{Type: 1}, []byte{0x00, 0xFF, 0x52, 0x10, 0x0A}, nil),
	}
}

func systemVectors() []vector {
	type m = vectorMessage
	fields := func(kv ...string) *map[string]string {
		f := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			f[kv[i]] = kv[i+1]
		}
		return &f
	}
	closing := func(code protocol.CloseCode, text string, info *map[string]string) *body {
		c := &closeBody{Code: code, Text: text}
		if info != nil {
			c.Info = *info
		}
		return &body{Close: c}
	}
	return []vector{
		good("logon without fields, empty body", toServer, m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"}, nil,
			&body{Logon: fields()}),
		good("logon without fields, a map of none", toServer, m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"}, []byte{0},
			&body{Logon: fields()}),
		good("logon with a token and a device", toServer, m{Type: protocol.TypeLogon, ID: 1, Device: 2, UserID: "alice"},
			text("\x01\x05token\x00\x06secret"), &body{Logon: fields("token", "secret")}),
		good("logon by token alone", toServer, m{Type: protocol.TypeLogon, ID: 1},
			text("\x01\x05token\x00\x06secret"), &body{Logon: fields("token", "secret")}),
		good("logon that takes a session over", toServer, m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"},
			text("\x02\x07session\x00\x040197\x05token\x00\x06secret"),
			&body{Logon: fields("session", "0197", "token", "secret")}),
		good("logon reply", toClient, m{Type: protocol.TypeLogon, Reply: true, ID: 1},
			text("\x00\x00\x02\x0cheartbeat-ms\x00\x0510000\x07session\x00\x040197"),
			&body{Welcome: fields("heartbeat-ms", "10000", "session", "0197")}),
		good("logon with keys that a language may have for itself", toServer, m{Type: protocol.TypeLogon, ID: 1, UserID: "alice"},
			text("\x02\x09__proto__\x00\x01p\x0bconstructor\x00\x01c"),
			&body{Logon: fields("__proto__", "p", "constructor", "c")}),
		good("logon reply without fields", toClient, m{Type: protocol.TypeLogon, Reply: true, ID: 1}, text("\x00\x00\x00"),
			&body{Welcome: fields()}),
		good("logon reply without a map", toClient, m{Type: protocol.TypeLogon, Reply: true, ID: 1}, text("\x00\x00"),
			&body{Welcome: fields()}),
		good("logon refused", toClient, m{Type: protocol.TypeLogon, Reply: true, Error: true, ID: 1},
			text("\x07\xd3\x00\x09bad token"), closing(protocol.Unauthorized, "bad token", nil)),
		good("logon refused, the user is online", toClient, m{Type: protocol.TypeLogon, Reply: true, Error: true, ID: 1},
			text("\x07\xd1\x00\x00"), closing(protocol.AlreadyLoggedOn, "", nil)),
		good("close from the client", toServer, m{Type: protocol.TypeClose}, text("\x03\xe8\x00\x03bye"),
			closing(protocol.ClientClosed, "bye", nil)),
		good("close without a text", toClient, m{Type: protocol.TypeClose}, text("\x07\xd0\x00\x00"), closing(protocol.PushedOut, "", nil)),
		good("close with info", toClient, m{Type: protocol.TypeClose},
			text("\x03\xec\x00\x08stopping\x02\x07address\x00\x09b.net:900\x08retry-ms\x00\x045000"),
			closing(protocol.ServerStopping, "stopping", fields("address", "b.net:900", "retry-ms", "5000"))),
		good("close with keys that a language may have for itself", toClient, m{Type: protocol.TypeClose},
			text("\x03\xec\x00\x00\x02\x09__proto__\x00\x01p\x0bconstructor\x00\x01c"),
			closing(protocol.ServerStopping, "", fields("__proto__", "p", "constructor", "c"))),
		good("close with a code of the application", toClient, m{Type: protocol.TypeClose}, text("\x0f\xa1\x00\x02no"),
			closing(4001, "no", nil)),
		good("close with a text beyond ASCII", toClient, m{Type: protocol.TypeClose}, text("\x07\xd2\x00\x08tsch\xc3\xbcs!"),
			closing(protocol.KickedOut, "tschüs!", nil)),
		good("heartbeat", toServer, m{Type: protocol.TypeHeartbeat}, nil, nil),
		good("heartbeat with the user ID", toServer, m{Type: protocol.TypeHeartbeat, UserID: "alice"}, nil, nil),
		good("heartbeat that asks for an answer", toServer, m{Type: protocol.TypeHeartbeat, ID: 77}, nil, nil),
		good("heartbeat answered", toClient, m{Type: protocol.TypeHeartbeat, Reply: true, ID: 77}, nil, nil),
		good("error reply", toClient, m{Type: 1, Reply: true, Error: true, ID: 7},
			text("\x13\x88\x00\x0ebob is offline"), closing(protocol.UserOffline, "bob is offline", nil)),
		good("error reply with info", toClient, m{Type: 1, Reply: true, Error: true, ID: 7},
			text("\x13\x8b\x00\x00\x01\x08retry-ms\x00\x03250"), closing(protocol.Refused, "", fields("retry-ms", "250"))),
	}
}

func renewVectors() []vector {
	type m = vectorMessage
	token, expires := map[string]string{"token": "fresh"}, map[string]string{"expires-ms": "60000"}
	return []vector{
		good("logon reply of a session that expires", toClient, m{Type: protocol.TypeLogon, Reply: true, ID: 1},
			text("\x00\x00\x02\x0aexpires-ms\x00\x0560000\x07session\x00\x040197"),
			&body{Welcome: &map[string]string{"expires-ms": "60000", "session": "0197"}}),
		good("renewal", toServer, m{Type: protocol.TypeRenew, ID: 5}, text("\x01\x05token\x00\x05fresh"), &body{Logon: &token}),
		good("renewal with the user ID", toServer, m{Type: protocol.TypeRenew, ID: 5, UserID: "alice"},
			text("\x01\x05token\x00\x05fresh"), &body{Logon: &token}),
		good("renewal accepted", toClient, m{Type: protocol.TypeRenew, Reply: true, ID: 5},
			text("\x00\x00\x01\x0aexpires-ms\x00\x0560000"), &body{Welcome: &expires}),
		good("renewal accepted, for good", toClient, m{Type: protocol.TypeRenew, Reply: true, ID: 5}, text("\x00\x00\x00"),
			&body{Welcome: &map[string]string{}}),
		good("renewal refused", toClient, m{Type: protocol.TypeRenew, Reply: true, Error: true, ID: 5},
			text("\x07\xd3\x00\x09bad token"), &body{Close: &closeBody{Code: protocol.Unauthorized, Text: "bad token"}}),
		good("renewal with a broken map", toServer, m{Type: protocol.TypeRenew, ID: 5}, text("\x01\x05tok"), &body{Error: protocol.InvalidMessage}),
		good("close of a session that was not renewed", toClient, m{Type: protocol.TypeClose},
			text("\x03\xf2\x00\x15the token has expired"), &body{Close: &closeBody{Code: protocol.TokenExpired, Text: "the token has expired"}}),
	}
}

func mapVectors() []vector {
	broken := func(name, b string) vector {
		return good("string map: "+name, toServer, vectorMessage{Type: protocol.TypeLogon, ID: 1, UserID: "a"}, text(b),
			&body{Error: protocol.InvalidMessage})
	}
	return []vector{
		broken("a count and no pair", "\x01"),
		broken("a key is cut off", "\x01\x05tok"),
		broken("a value's length is cut off", "\x01\x01k\x00"),
		broken("a value is cut off", "\x01\x01k\x00\x02v"),
		broken("one pair less than the count", "\x02\x01k\x00\x01v"),
		broken("a byte after the last pair", "\x01\x01k\x00\x01v\x00"),
		broken("a byte after no pair", "\x00\x00"),
		broken("an empty key", "\x01\x00\x00\x01v"),
		broken("a key twice", "\x02\x01k\x00\x01v\x01k\x00\x01w"),
		broken("a key that is not UTF-8", "\x01\x01\xff\x00\x01v"),
		broken("a value that is not UTF-8", "\x01\x01k\x00\x01\xff"),
		broken("a key twice that a language may have for itself", "\x02\x09__proto__\x00\x00\x09__proto__\x00\x00"),
	}
}

func refusedVectors() []vector {
	patched := func(at int, b ...byte) []byte {
		f := raw(0x52, 0, 1, 7, 0, "alice", "bob", text("hello"))
		copy(f[at:], b)
		return f
	}
	ids := func(user, dest string) []byte { return raw(0x52, 0, 1, 7, 0, user, dest, text("hello")) }
	return []vector{
		bad("wrong magic", both, patched(0, 0x53), 1, protocol.InvalidMessage),
		bad("an HTTP request", both, text("GET / HTTP/1.1\r\n\r\n"), 1, protocol.InvalidMessage),
		bad("version 0", both, patched(1, 0x00), 2, protocol.InvalidMessage),
		bad("version 2", both, patched(1, 0x20), 2, protocol.InvalidMessage),
		bad("version 15", both, patched(1, 0xF1), 2, protocol.InvalidMessage),
		bad("flag 4 is unknown", both, patched(1, 0x14), 2, protocol.InvalidMessage),
		bad("flag 8 is unknown", both, patched(1, 0x18), 2, protocol.InvalidMessage),
		bad("all flags", both, patched(1, 0x1F), 2, protocol.InvalidMessage),
		bad("error flag without reply flag", both, patched(1, 0x12), 2, protocol.InvalidMessage),
		bad("message type 0", both, patched(2, 0, 0), 4, protocol.InvalidMessage),
		bad("user ID longer than the length", both, patched(4, 0, 0, 0, 4), 13, protocol.InvalidMessage),
		bad("both user IDs longer than the length", both, patched(4, 0, 0, 0, 7), 14, protocol.InvalidMessage),
		bad("user IDs in an empty frame", both, header(0, 0, 1), 14, protocol.InvalidMessage),
		bad("user ID that is not UTF-8", both, ids("ali\xffce", "bob"), 20, protocol.InvalidMessage),
		bad("user ID that ends within a rune", both, ids("ali\xc3", "bob"), 20, protocol.InvalidMessage),
		bad("user ID with an overlong encoding", both, ids("\xc0\x80", "bob"), 17, protocol.InvalidMessage),
		bad("user ID with a surrogate", both, ids("\xed\xa0\x80", "bob"), 18, protocol.InvalidMessage),
		bad("user ID with a NUL", both, ids("a\x00b", "bob"), 18, protocol.InvalidMessage),
		bad("user ID with a line feed", both, ids("alice\n", "bob"), 22, protocol.InvalidMessage),
		bad("user ID with DEL", both, ids("alice\x7f", "bob"), 22, protocol.InvalidMessage),
		bad("user ID with U+0085", both, ids("alice\u0085", "bob"), 23, protocol.InvalidMessage),
		bad("destination that is not UTF-8", both, ids("alice", "b\xffb"), 23, protocol.InvalidMessage),
		bad("destination with a tab", both, ids("alice", "b\tb"), 23, protocol.InvalidMessage),
		bad("destination that ends within a rune", both, ids("alice", "bo\xe2\x82"), 25, protocol.InvalidMessage),
	}
}

// header is a frame of which nothing but the header is there.
func header(length uint32, user, dest byte) []byte {
	f := raw(0x52, 0, 1, 7, 0, "", "", nil)
	binary.BigEndian.PutUint32(f[4:], length)
	f[12], f[13] = user, dest
	return f
}

func limitVectors() []vector {
	type m = vectorMessage
	x := bytes.Repeat([]byte("x"), 100)
	return []vector{
		limited(good("body of max_body", both, m{Type: 1, UserID: "alice", DestUserID: "bob"}, x, nil), 100, 0),
		limited(bad("body over max_body", both, header(109, 5, 3), 14, protocol.MessageTooLarge), 100, 0),
		limited(bad("body of 1 MiB and a byte", both, header(1<<20+9, 5, 3), 14, protocol.MessageTooLarge), 1<<20, 0),
		limited(bad("length that two user IDs cannot make up for", both, header(1<<20+512, 5, 3), 7, protocol.MessageTooLarge),
			1<<20, 0),
		limited(bad("length of 4 GiB", both, header(1<<32-1, 5, 3), 5, protocol.MessageTooLarge), 1<<20, 0),
		limited(bad("length that wraps 32 bits with the header", both, header(0xFFFFFFF0, 5, 3), 5, protocol.MessageTooLarge), 1<<20, 0),
		limited(good("frame of max_frame", both, m{Type: 1, UserID: "alice", DestUserID: "bob"}, x, nil), 0, 124),
		limited(bad("frame over max_frame", both, raw(0x52, 0, 1, 7, 0, "alice", "bob", x), 8, protocol.MessageTooLarge), 0, 123),
		limited(bad("before admission: a frame of 4 KiB and a byte", toServer, header(4096-15, 5, 3), 8, protocol.MessageTooLarge),
			1<<20, 4096),
		limited(bad("wrong magic is seen before the length", both, append([]byte{0}, header(1<<32-1, 5, 3)[1:]...), 1,
			protocol.InvalidMessage), 100, 0),
	}
}

func unfinishedVectors() []vector {
	f := raw(0x52, 0, 1, 7, 0, "alice", "bob", text("hello"))
	cut := func(name string, n, need int) vector {
		return vector{Name: "unfinished: " + name, Direction: both, Hex: hex.EncodeToString(f[:n]), Need: need}
	}
	return []vector{
		cut("nothing yet", 0, 16),
		cut("one byte", 1, 16),
		cut("half a header", 8, 16),
		cut("a header less a byte", 15, 16),
		cut("a header", 16, 29),
		cut("within the user ID", 18, 29),
		cut("within the body", 28, 29),
	}
}
