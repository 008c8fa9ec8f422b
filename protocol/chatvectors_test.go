package protocol_test

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/rollcall-go/rollcall/protocol"
)

// join puts strings, bytes and numbers together, each number with its own width, most significant byte first.
func join(parts ...any) string {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case byte:
			b = append(b, p)
		case uint16:
			b = binary.BigEndian.AppendUint16(b, p)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		default:
			panic(p)
		}
	}
	return string(b)
}

func short(s string) string { return join(byte(len(s)), s) }

// rawStored puts a message of a conversation together, field by field.
func rawStored(seq, ms uint64, flags byte, typ uint16, from, content string) string {
	return join(seq, string(bytesOfHex(pushIDHex)), ms, flags, typ, short(from), uint32(len(content)), content)
}

// kind makes the vectors of one type.
type kind struct {
	name string
	typ  uint16
}

func (k kind) op(name string, reply bool, content string, o operationBody) vector {
	m, direction := k.message(reply, o.Op)
	return good(k.name+": "+name, direction, m, text(content), &body{Op: &o})
}

func (k kind) broken(name string, reply bool, content string) vector {
	m, direction := k.message(reply, 1)
	return good(k.name+": "+name, direction, m, text(content), &body{Error: protocol.InvalidMessage})
}

// refused is an error reply.
func (k kind) refused(name, content string, e closeBody) vector {
	m, direction := k.message(true, 0)
	m.Error = true
	return good(k.name+": "+name, direction, m, text(content), &body{Close: &e})
}

func (k kind) message(reply bool, op uint8) (m vectorMessage, direction string) {
	names := operationNames[k.typ]
	if told := op > 0 && !reply && (names[op-1] == "Notice" || names[op-1] == "Message"); told {
		return vectorMessage{Type: k.typ}, toClient
	}
	if reply {
		return vectorMessage{Type: k.typ, ID: 9, Reply: true}, toClient
	}
	return vectorMessage{Type: k.typ, ID: 9}, toServer
}

type fields = map[string]string

func contactVectors() []vector {
	const ms = pushTimeMS
	k := kind{"contacts", protocol.TypeContacts}
	contact := func(id string, state byte, since uint64) string { return join(short(id), state, since) }
	bob := contact("bob", 4, ms)
	none := []contactBody{}
	return []vector{
		k.op("a request", false, "\x01\x02\x04text\x00\x02hi\x04user\x00\x03bob", operationBody{Op: 1, Fields: fields{"user": "bob", "text": "hi"}}),
		k.op("asked", true, "\x01\x01\x05state\x00\x05asked", operationBody{Op: 1, Fields: fields{"state": "asked"}}),
		k.op("an answer", false, "\x02\x02\x06accept\x00\x011\x04user\x00\x03bob", operationBody{Op: 2, Fields: fields{"user": "bob", "accept": "1"}}),
		k.op("answered", true, "\x02\x00", operationBody{Op: 2}),
		k.op("a block of an anonymous author", false, "\x04\x01\x03seq\x00\x0212", operationBody{Op: 4, Fields: fields{"seq": "12"}}),
		k.op("all", false, "\x05\x00", operationBody{Op: 5}),
		k.op("a list", true, join("\x05\x00", uint16(2), bob, contact("Zo\xc3\xab", 8, 0)), operationBody{Op: 5, Contacts: &[]contactBody{
			{UserID: "bob", State: 4, SinceMS: ms}, {UserID: "Zoë", State: 8}}}),
		k.op("a page, with one who asks and one who was asked", true, join("\x05\x01\x04next\x00\x03cat", uint16(2), contact("bob", 2, ms), contact("cat", 1, ms)),
			operationBody{Op: 5, Fields: fields{"next": "cat"}, Contacts: &[]contactBody{{"bob", 2, ms}, {"cat", 1, ms}}}),
		k.op("nobody", true, "\x05\x00\x00\x00", operationBody{Op: 5, Contacts: &none}),
		k.op("settings", true, "\x06\x04\x09anonymous\x00\x010\x07receive\x00\x011\x08requests\x00\x03ask\x04send\x00\x011", operationBody{Op: 6,
			Fields: fields{"anonymous": "0", "receive": "1", "requests": "ask", "send": "1"}}),
		k.op("a notice", false, "\x07\x02\x05event\x00\x05asked\x04user\x00\x03ann", operationBody{Op: 7, Fields: fields{"event": "asked", "user": "ann"}}),
		k.refused("friends already", "\x13\xfd\x00\x00", closeBody{Code: protocol.AlreadyFriends}),
		k.broken("a list that is missing", true, "\x05\x00"),
		k.broken("a list that is cut off", true, join("\x05\x00", uint16(1), bob[:len(bob)-1])),
		k.broken("a list with a contact less than its count", true, join("\x05\x00", uint16(2), bob)),
		k.broken("a list that goes on", true, join("\x05\x00", uint16(1), bob, byte(0))),
		k.broken("a list with an empty ID", true, join("\x05\x00", uint16(1), contact("", 4, ms))),
		k.broken("a list with state 0", true, join("\x05\x00", uint16(1), contact("bob", 0, ms))),
		k.broken("a list with state 3", true, join("\x05\x00", uint16(1), contact("bob", 3, ms))),
		k.broken("a list with a friend who is blocked", true, join("\x05\x00", uint16(1), contact("bob", 12, ms))),
		k.broken("a list with state 16", true, join("\x05\x00", uint16(1), contact("bob", 16, ms))),
		k.broken("a list of 1,001", true, join("\x05\x00", uint16(1001), strings.Repeat(bob, 1001))),
	}
}

func groupVectors() []vector {
	const ms = pushTimeMS
	k := kind{"group", protocol.TypeGroup}
	member := func(id string, role byte, until uint64, state byte) string {
		return join(short(id), role, until, state)
	}
	ann := member("ann", 2, 0, 0)
	none := []storedBody{}
	return []vector{
		k.op("a new one", false, "\x01\x02\x04name\x00\x08climbing\x04open\x00\x011", operationBody{Op: 1, Fields: fields{"name": "climbing", "open": "1"}}),
		k.op("made", true, "\x01\x01\x05group\x00\x139223372036854775807", operationBody{Op: 1, Fields: fields{"group": "9223372036854775807"}}),
		k.op("joined", true, join("\x04\x02\x04last\x00\x0212\x04more\x00\x011", uint16(1), rawStored(12, ms, 0, 1, "bob", "hello")), operationBody{Op: 4,
			Fields: fields{"last": "12", "more": "1"}, Messages: &[]storedBody{{Seq: 12, ID: pushIDText, TimeMS: ms, Type: 1, From: "bob", ContentHex: "68656c6c6f"}}}),
		k.op("joined without messages", true, "\x04\x02\x04last\x00\x010\x04more\x00\x010\x00\x00", operationBody{Op: 4, Fields: fields{"last": "0", "more": "0"}, Messages: &none}),
		k.op("members to add", false, "\x06\x01\x05group\x00\x017\x00\x02\x03bob\x03cat", operationBody{Op: 6, Fields: fields{"group": "7"}, IDs: []string{"bob", "cat"}}),
		k.op("members added", true, "\x06\x01\x04done\x00\x012", operationBody{Op: 6, Fields: fields{"done": "2"}}),
		k.op("members to remove", false, "\x07\x01\x05group\x00\x017\x00\x01\x03bob", operationBody{Op: 7, Fields: fields{"group": "7"}, IDs: []string{"bob"}}),
		k.op("a mute", false, "\x09\x03\x05group\x00\x017\x08until-ms\x00\x0d1760000000000\x04user\x00\x03bob", operationBody{Op: 9,
			Fields: fields{"group": "7", "user": "bob", "until-ms": "1760000000000"}}),
		k.op("members", true, join("\x0c\x00", uint16(2), ann, member("bob", 0, ms, 1)), operationBody{Op: 12, Members: &[]memberBody{
			{UserID: "ann", Role: 2}, {UserID: "bob", MutedUntilMS: ms, State: 1}}}),
		k.op("a notice", false, "\x0d\x04\x02by\x00\x07_server\x05event\x00\x07removed\x05group\x00\x017\x04user\x00\x03bob", operationBody{Op: 13,
			Fields: fields{"by": "_server", "event": "removed", "group": "7", "user": "bob"}}),
		k.refused("full", "\x13\xf2\x00\x04full", closeBody{Code: protocol.GroupFull, Text: "full"}),
		k.broken("members to add without a list", false, "\x06\x01\x05group\x00\x017"),
		k.broken("members that are missing", true, "\x0c\x00"),
		k.broken("members that are cut off", true, join("\x0c\x00", uint16(1), ann[:len(ann)-1])),
		k.broken("members that go on", true, join("\x0c\x00", uint16(1), ann, byte(0))),
		k.broken("a member with an empty ID", true, join("\x0c\x00", uint16(1), member("", 0, 0, 0))),
		k.broken("a member with role 3", true, join("\x0c\x00", uint16(1), member("ann", 3, 0, 0))),
		k.broken("a member with state 4", true, join("\x0c\x00", uint16(1), member("ann", 0, 0, 4))),
		k.broken("joined, and the messages are missing", true, "\x04\x01\x04last\x00\x0212"),
	}
}

func chatVectors() []vector {
	const ms = pushTimeMS
	k := kind{"chat", protocol.TypeChat}
	id := string(bytesOfHex(pushIDHex))
	hello := rawStored(12, ms, 0, 1, "ann", "hello")
	stored := func(seq uint64) storedBody { return storedBody{Seq: seq, ID: pushIDText, TimeMS: ms, Type: 1} }
	told := func(name, message string, set func(*storedBody)) vector {
		b := stored(12)
		set(&b)
		return k.op(name, false, "\x02\x01\x05group\x00\x017"+message, operationBody{Op: 2, Fields: fields{"group": "7"}, Message: &b})
	}
	bad := func(name, message string) vector {
		v := k.broken(name, false, "\x02\x01\x05group\x00\x017"+message)
		v.Direction, v.Valid.ID = toClient, 0
		v.Hex = hex.EncodeToString(raw(0x52, 0, k.typ, 0, 0, "", "", bytesOfHex(v.Valid.BodyHex)))
		return v
	}
	history := func(messages string) string { return "\x03\x02\x05first\x00\x011\x04more\x00\x010" + messages }
	conversation := func(kind byte, id string, last uint64) string { return join(kind, short(id), last) }
	list := func(name, entry string) vector { return k.broken(name, true, join("\x05\x00", uint16(1), entry)) }
	last := uint64(1<<63 - 1)
	ann := stored(last)
	ann.From = "ann"
	recall := storedBody{Seq: 13, ID: pushIDText, TimeMS: ms, From: "ann", Recalls: 12}
	recalled := stored(12)
	recalled.From, recalled.Recalled = "ann", true
	return []vector{
		k.op("hello to a group", false, "\x01\x01\x05group\x00\x017"+id+"\x00\x01hello", operationBody{Op: 1, Fields: fields{"group": "7"},
			Post: &postBody{ID: pushIDText, Type: 1, ContentHex: "68656c6c6f"}}),
		k.op("nothing to a user, anonymous", false, "\x01\x02\x09anonymous\x00\x011\x04user\x00\x03bob"+id+"\xfe\xff", operationBody{Op: 1,
			Fields: fields{"anonymous": "1", "user": "bob"}, Post: &postBody{ID: pushIDText, Type: 0xFEFF}}),
		k.op("sent", true, "\x01\x02\x03seq\x00\x0212\x07time-ms\x00\x0d1760000000000", operationBody{Op: 1, Fields: fields{"seq": "12", "time-ms": "1760000000000"}}),
		told("a message", hello, func(b *storedBody) { b.From, b.ContentHex = "ann", "68656c6c6f" }),
		told("a message of the server", rawStored(12, ms, 0, 1, "_server", ""), func(b *storedBody) { b.From = "_server" }),
		told("an anonymous message", rawStored(12, ms, 1, 1, "", "\xff"), func(b *storedBody) { b.Anonymous, b.ContentHex = true, "ff" }),
		told("a recall", rawStored(12, ms, 4, 0, "ann", join(uint64(11))), func(b *storedBody) { b.From, b.Recalls, b.Type = "ann", 11, 0 }),
		told("a recall of an anonymous message", rawStored(12, ms, 5, 0, "", join(uint64(11))), func(b *storedBody) { b.Anonymous, b.Recalls, b.Type = true, 11, 0 }),
		k.op("history", true, history(join(uint16(2), rawStored(12, ms, 2, 1, "ann", ""), rawStored(13, ms, 4, 0, "ann", join(uint64(12))))),
			operationBody{Op: 3, Fields: fields{"first": "1", "more": "0"}, Messages: &[]storedBody{recalled, recall}}),
		k.op("history with the highest number", true, history(join(uint16(1), rawStored(last, ms, 0, 1, "ann", ""))), operationBody{Op: 3,
			Fields: fields{"first": "1", "more": "0"}, Messages: &[]storedBody{ann}}),
		k.op("conversations", true, join("\x05\x01\x04next\x00\x0219", uint16(4), conversation(1, "7", 12), conversation(2, "bob", 0),
			conversation(2, "_server", 3), conversation(1, "9223372036854775807", last)), operationBody{Op: 5, Fields: fields{"next": "19"},
			Conversations: &[]conversationBody{{Group: 7, Last: 12}, {User: "bob"}, {User: "_server", Last: 3}, {Group: last, Last: last}}}),
		k.refused("muted", "\x13\xef\x00\x00\x01\x08until-ms\x00\x0d1760000000000", closeBody{Code: protocol.MemberMuted, Info: fields{"until-ms": "1760000000000"}}),
		k.broken("a message without a type", false, "\x01\x01\x05group\x00\x017"+id+"\x00"),
		k.broken("a message without an ID", false, "\x01\x01\x05group\x00\x017"+strings.Repeat("\x00", 16)+"\x00\x01hello"),
		bad("a message that is cut off in its head", hello[:34]),
		bad("a message that is cut off in its sender", hello[:37]),
		bad("a message that is cut off in its content", hello[:len(hello)-1]),
		bad("a message that goes on", hello+"\x00"),
		bad("a message of 4 GB that does not come", join(hello[:len(hello)-9], uint32(0xFFFFFFFF), "hello")),
		bad("a message with number 0", rawStored(0, ms, 0, 1, "ann", "")),
		bad("a message with number 2^63", rawStored(1<<63, ms, 0, 1, "ann", "")),
		bad("a message with flag 8", rawStored(12, ms, 8, 1, "ann", "")),
		bad("a message without a sender", rawStored(12, ms, 0, 1, "", "")),
		bad("an anonymous message with its sender", rawStored(12, ms, 1, 1, "ann", "")),
		bad("a sender with a line feed", rawStored(12, ms, 0, 1, "a\n", "")),
		bad("a recalled message with content", rawStored(12, ms, 2, 1, "ann", "hello")),
		bad("a recall that was recalled", rawStored(12, ms, 6, 0, "ann", join(uint64(11)))),
		bad("a recall of 7 bytes", rawStored(12, ms, 4, 0, "ann", "\x00\x00\x00\x00\x00\x00\x0b")),
		bad("a recall of number 0", rawStored(12, ms, 4, 0, "ann", join(uint64(0)))),
		bad("a recall of itself", rawStored(12, ms, 4, 0, "ann", join(uint64(12)))),
		k.broken("history that is missing", true, history("")),
		k.broken("history with a message less than its count", true, history(join(uint16(2), hello))),
		k.broken("history that goes on", true, history(join(uint16(1), hello, byte(0)))),
		k.broken("conversations that are missing", true, "\x05\x00"),
		list("a conversation of kind 3", conversation(3, "bob", 1)),
		list("a group in hexadecimal", conversation(1, "0x7", 1)),
		list("a group with a zero before its ID", conversation(1, "07", 1)),
		list("group 0", conversation(1, "0", 1)),
		list("group 2^63", conversation(1, "9223372036854775808", 1)),
		list("a conversation without a user", conversation(2, "", 1)),
		list("a conversation with number 2^63", conversation(2, "bob", 1<<63)),
		list("a conversation that is cut off", conversation(2, "bob", 1)[:12]),
	}
}
