package protocol_test

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/rollcall-go/rollcall/protocol"
)

const (
	pushIDHex  = "0197abcdef01723489ab0123456789ab"
	pushIDText = "0197abcd-ef01-7234-89ab-0123456789ab"
	pushTimeMS = 1_760_000_000_000 // 2025-10-09T08:53:20Z
)

// rawPush puts a push's body together, field by field.
func rawPush(kind, flags byte, ms int64, name, metadata, content string) []byte {
	b := append(bytesOfHex(pushIDHex), kind, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(ms))
	b = append(b, byte(len(name)))
	b = append(b, name...)
	b = append(b, metadata...)
	return append(b, content...)
}

func pushVectors() []vector {
	type m = vectorMessage
	push := func(name string, content []byte, p pushBody) vector {
		p.ID = pushIDText
		return good("push: "+name, toClient, m{Type: protocol.TypePush}, content, &body{Push: &p})
	}
	long := strings.Repeat("n", 255)
	return []vector{
		push("a text", rawPush(1, 0, pushTimeMS, "", "\x00", "hello"),
			pushBody{Kind: 1, TimeMS: pushTimeMS, ContentHex: "68656c6c6f"}),
		push("a text beyond ASCII, to be confirmed", rawPush(1, 1, pushTimeMS, "", "\x00", "Gr\xc3\xbc\xc3\x9fe"),
			pushBody{Kind: 1, Confirm: true, TimeMS: pushTimeMS, ContentHex: "4772c3bcc39f65"}),
		push("a text without content", rawPush(1, 0, pushTimeMS, "", "\x00", ""), pushBody{Kind: 1, TimeMS: pushTimeMS}),
		push("binary, with metadata", rawPush(2, 1, pushTimeMS, "", "\x02\x01a\x00\x00\x04room\x00\x0242", "\x00\xff\x52\x10"),
			pushBody{Kind: 2, Confirm: true, TimeMS: pushTimeMS, Metadata: map[string]string{"a": "", "room": "42"},
				ContentHex: "00ff5210"}),
		push("kick out", rawPush(3, 0, pushTimeMS, "", "\x00", "spam"),
			pushBody{Kind: 3, TimeMS: pushTimeMS, ContentHex: "7370616d"}),
		push("a notification", rawPush(4, 1, pushTimeMS, "", "\x00", "{}"),
			pushBody{Kind: 4, Confirm: true, TimeMS: pushTimeMS, ContentHex: "7b7d"}),
		push("custom", rawPush(5, 0, pushTimeMS, "score", "\x00", "3\n1"),
			pushBody{Kind: 5, Name: "score", TimeMS: pushTimeMS, ContentHex: "330a31"}),
		push("custom, with a name of 255 bytes", rawPush(5, 0, pushTimeMS, long, "\x00", ""),
			pushBody{Kind: 5, Name: long, TimeMS: pushTimeMS}),
		push("a kind of a later version", rawPush(6, 1, pushTimeMS, "", "\x00", "x"),
			pushBody{Kind: 6, Confirm: true, TimeMS: pushTimeMS, ContentHex: "78"}),
		push("a kind of a later version, with a name", rawPush(255, 0, pushTimeMS, "n", "\x00", "\xff"),
			pushBody{Kind: 255, Name: "n", TimeMS: pushTimeMS, ContentHex: "ff"}),
		push("time unknown", rawPush(2, 0, 0, "", "\x00", ""), pushBody{Kind: 2}),
		push("a time before 1970", rawPush(2, 0, -1, "", "\x00", ""), pushBody{Kind: 2, TimeMS: -1}),
		good("push acknowledged", toServer, m{Type: protocol.TypePushAck}, bytesOfHex(pushIDHex), &body{PushAck: pushIDText}),
	}
}

func pushErrorVectors() []vector {
	broken := func(name string, content []byte) vector {
		return good("push: "+name, toClient, vectorMessage{Type: protocol.TypePush}, content, &body{Error: protocol.InvalidMessage})
	}
	ack := func(name string, content []byte) vector {
		return good("push acknowledged: "+name, toServer, vectorMessage{Type: protocol.TypePushAck}, content, &body{Error: protocol.InvalidMessage})
	}
	whole := rawPush(5, 0, pushTimeMS, "score", "\x01\x01k\x00\x01v", "")
	noID := append(make([]byte, 16), rawPush(1, 0, pushTimeMS, "", "\x00", "x")[16:]...)
	longer := append(bytesOfHex(pushIDHex), 0)
	return []vector{
		broken("empty", nil),
		broken("cut off within the ID", whole[:15]),
		broken("cut off after the ID", whole[:16]),
		broken("cut off within the time", whole[:20]),
		broken("cut off before the name's length", whole[:26]),
		broken("cut off within the name", whole[:30]),
		broken("cut off before the metadata", whole[:32]),
		broken("cut off within the metadata", whole[:37]),
		broken("an ID of zeros", noID),
		broken("kind 0", rawPush(0, 0, pushTimeMS, "", "\x00", "x")),
		broken("flag 2", rawPush(1, 2, pushTimeMS, "", "\x00", "x")),
		broken("flag 128 with flag 1", rawPush(1, 129, pushTimeMS, "", "\x00", "x")),
		broken("a text that is not UTF-8", rawPush(1, 0, pushTimeMS, "", "\x00", "\xff")),
		broken("a text with a name", rawPush(1, 0, pushTimeMS, "n", "\x00", "x")),
		broken("a notification with a name", rawPush(4, 0, pushTimeMS, "n", "\x00", "x")),
		broken("custom without a name", rawPush(5, 0, pushTimeMS, "", "\x00", "x")),
		broken("a name that is not UTF-8", rawPush(5, 0, pushTimeMS, "\xff", "\x00", "x")),
		broken("a metadata key twice", rawPush(2, 0, pushTimeMS, "", "\x02\x01k\x00\x00\x01k\x00\x00", "x")),
		ack("empty", nil),
		ack("a byte too few", longer[:15]),
		ack("a byte too many", longer),
	}
}

func onlineVectors() []vector {
	type m = vectorMessage
	ask := m{Type: protocol.TypeWhoIsOnline, ID: 8}
	list := func(ids ...string) *body { return &body{IDs: &ids} }
	broken := func(name, b string) vector {
		return good("who is online: "+name, toServer, ask, text(b), &body{Error: protocol.InvalidMessage})
	}
	long := strings.Repeat("u", 255)
	tooMany := "\x03\xe9" + strings.Repeat("\x01u", 1001)
	return []vector{
		good("who is online", toServer, ask, text("\x00\x03\x05carol\x03bob\x05alice"), list("carol", "bob", "alice")),
		good("who is online: two of them", toClient, m{Type: protocol.TypeWhoIsOnline, ID: 8, Reply: true},
			text("\x00\x02\x03bob\x05alice"), list("bob", "alice")),
		good("who is online: nobody", toClient, m{Type: protocol.TypeWhoIsOnline, ID: 8, Reply: true}, text("\x00\x00"),
			&body{IDs: &[]string{}}),
		good("who is online: an ID twice", toServer, ask, text("\x00\x02\x03bob\x03bob"), list("bob", "bob")),
		good("who is online: an ID of 255 bytes, and one beyond ASCII", toServer, ask,
			text("\x00\x02\xff"+long+"\x04Zo\xc3\xab"), list(long, "Zoë")),
		good("who is online: refused", toClient, m{Type: protocol.TypeWhoIsOnline, ID: 8, Reply: true, Error: true},
			text("\x13\x8b\x00\x02no"), &body{Close: &closeBody{Code: protocol.Refused, Text: "no"}}),
		broken("empty", ""),
		broken("half a count", "\x00"),
		broken("a count and no ID", "\x00\x01"),
		broken("an ID is cut off", "\x00\x01\x05caro"),
		broken("one ID less than the count", "\x00\x02\x03bob"),
		broken("65,535 IDs that do not come", "\xff\xff\x03bob"),
		broken("a byte after the last ID", "\x00\x01\x03bob\x00"),
		broken("an empty ID", "\x00\x01\x00"),
		broken("an ID that is not UTF-8", "\x00\x01\x03Zo\xc3"),
		broken("an ID with a line feed", "\x00\x01\x02a\n"),
		broken("1,001 IDs", tooMany),
	}
}

func bytesOfHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}
