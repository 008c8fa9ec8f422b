package chat_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/chat"
	"github.com/rollcall-go/rollcall/internal/chattest"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// raw is a client that is written from docs/protocol.md and docs/chat.md alone: it uses nothing of protocol.
type raw struct {
	net.Conn
	t    *testing.T
	user string
	id   uint32
}

// The types of docs/chat.md.
const (
	rawLogon    = 0xff01
	rawPresence = 0xff06
	rawContacts = 0xff07
	rawGroup    = 0xff08
	rawChat     = 0xff09
)

// unhex reads bytes as the pages write them: in hexadecimal, with blanks.
func unhex(text string) []byte {
	return testkit.Must(hex.DecodeString(strings.Join(strings.Fields(text), "")))
}

// pair is a pair of a string map.
func pair(key, value string) []byte {
	b := append([]byte{byte(len(key))}, key...)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(value))), value...)
}

// operation is u8 op, a string map and content. Pairs are in the order of their keys, as the server writes them.
func operation(op byte, content []byte, fields ...string) []byte {
	b := []byte{op, byte(len(fields) / 2)}
	for i := 0; i < len(fields); i += 2 {
		b = append(b, pair(fields[i], fields[i+1])...)
	}
	return append(b, content...)
}

// frame is a header and a body. The user IDs of the header are in the body where there are some.
func frame(flags byte, typ uint16, id uint32, body []byte) []byte {
	b := []byte{0x52, 0x10 | flags}
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, id)
	return append(append(b, 0, 0, 0, 0), body...)
}

func (r *raw) write(b []byte) {
	r.t.Helper()
	if _, err := r.Write(b); err != nil {
		r.t.Fatalf("%s: %v", r.user, err)
	}
}

// read reads a frame.
func (r *raw) read() []byte {
	r.t.Helper()
	header := make([]byte, 16)
	if _, err := io.ReadFull(r, header); err != nil {
		r.t.Fatalf("%s: %v", r.user, err)
	}
	b := append(header, make([]byte, binary.BigEndian.Uint32(header[4:]))...)
	if _, err := io.ReadFull(r, b[16:]); err != nil {
		r.t.Fatalf("%s: %v", r.user, err)
	}
	return b
}

// expect wants a frame to come, byte for byte.
func (r *raw) expect(what string, want []byte) {
	r.t.Helper()
	if got := r.read(); !bytes.Equal(got, want) {
		r.t.Fatalf("%s, %s, gets\n% x, not\n% x", what, r.user, got, want)
	}
}

// ask sends an operation and returns what its answer has behind its op.
func (r *raw) ask(typ uint16, body []byte) []byte {
	r.t.Helper()
	r.id++
	r.write(frame(0, typ, r.id, body))
	b := r.read()
	if head := frame(1, typ, r.id, b[16:]); !bytes.Equal(b, head) || len(b) < 18 || b[16] != body[0] {
		r.t.Fatalf("%s is answered\n% x", r.user, b)
	}
	return b[17:]
}

// want is ask for an answer that is known, byte for byte.
func (r *raw) want(what string, typ uint16, body, answer []byte) {
	r.t.Helper()
	if got := r.ask(typ, body); !bytes.Equal(got, answer) {
		r.t.Fatalf("%s of %s is answered\n% x, not\n% x", what, r.user, got, answer)
	}
}

// refused wants an error reply with a code.
func (r *raw) refused(what string, typ uint16, body []byte, code uint16) {
	r.t.Helper()
	r.id++
	r.write(frame(0, typ, r.id, body))
	b := r.read()
	if head := frame(3, typ, r.id, b[16:]); !bytes.Equal(b, head) || len(b) < 20 || binary.BigEndian.Uint16(b[16:]) != code {
		r.t.Fatalf("%s of %s is answered\n% x, not %d", what, r.user, b, code)
	}
}

// field reads the value of the only field of a string map, and returns what is behind it.
func (r *raw) field(b []byte, key string) (value string, rest []byte) {
	r.t.Helper()
	if len(b) < 4+len(key) || b[0] != 1 || string(b[2:2+len(key)]) != key {
		r.t.Fatalf("the field %s is not the only one of\n% x", key, b)
	}
	n := 4 + len(key) + int(binary.BigEndian.Uint16(b[2+len(key):]))
	return string(b[4+len(key) : n]), b[n:]
}

// logOnRaw logs on: a Logon whose header names the user, answered with flag 1 and the code 0.
func logOnRaw(t *testing.T, addr, user string) *raw {
	t.Helper()
	r := &raw{Conn: testkit.Must(net.Dial("tcp", addr)), t: t, user: user}
	t.Cleanup(func() { _ = r.Close() })
	_ = r.SetDeadline(time.Now().Add(testkit.Patience))
	logon := frame(0, rawLogon, 1, append([]byte(user), 0)) // an empty string map
	logon[12] = byte(len(user))
	r.write(logon)
	b := r.read()
	if want := frame(1, rawLogon, 1, b[16:]); binary.BigEndian.Uint16(b[2:]) != rawLogon || b[1] != want[1] || !bytes.Equal(b[8:12], want[8:12]) {
		t.Fatalf("%s is answered\n% x", user, b)
	}
	if code := b[16+int(b[12])+int(b[13]):]; len(code) < 2 || code[0] != 0 || code[1] != 0 {
		t.Fatalf("%s is refused with\n% x", user, b)
	}
	r.id = 1
	return r
}

// A client of bytes finds what docs/protocol.md and docs/chat.md say: rules P22, P29 to P32, P36 and P39.
func TestAClientOfRawBytes(t *testing.T) {
	w := chattest.NewWorld(t, chat.Config{})
	ann, bob := logOnRaw(t, w.Addr, "ann"), logOnRaw(t, w.Addr, "bob")
	testkit.Eventually(t, "both are seen", func() bool {
		return w.Chat.Presence().Visible("ann") == 0 && w.Chat.Presence().Visible("bob") == 0
	})

	// Bob watches, and sees none. Ann's request is told to him; he accepts, and both are told.
	bob.want("rule P22: Watch", rawPresence, operation(2, nil), unhex("00 0000"))
	ann.want("rule P39: Request", rawContacts, operation(1, nil, "text", "hi", "user", "bob"), unhex("01 05 7374617465 0005 61736b6564"))
	bob.expect("rule P39: the notice", frame(0, rawContacts, 0, operation(7, nil, "event", "asked", "text", "hi", "user", "ann")))
	bob.write(frame(0, rawContacts, 0, operation(2, nil, "accept", "1", "user", "ann"))) // no answer is expected
	ann.expect("rule P39: the notice", frame(0, rawContacts, 0, operation(7, nil, "event", "friends", "user", "bob")))
	seen, friends := bob.read(), bob.read() // in any order
	if binary.BigEndian.Uint16(seen[2:]) == rawContacts {
		seen, friends = friends, seen
	}
	if want := frame(0, rawContacts, 0, operation(7, nil, "event", "friends", "user", "ann")); !bytes.Equal(friends, want) {
		t.Fatalf("rule P39: bob is told\n% x", friends)
	}
	// Ann is online: Notice, name = online, one user. When she came is not known here.
	want := frame(0, rawPresence, 0, operation(4, append(unhex("0001 03 616e6e 00"), make([]byte, 16)...), "name", "online"))
	if len(seen) != len(want) || !bytes.Equal(seen[:len(seen)-16], want[:len(want)-16]) || !bytes.Equal(seen[len(seen)-8:], make([]byte, 8)) {
		t.Fatalf("rule P20: bob is told\n% x", seen)
	}

	// Ann makes a group, and Bob joins it: last = 0, more = 0, no messages. Both are told.
	group, rest := ann.field(ann.ask(rawGroup, operation(1, nil, "name", "climbing")), "group")
	if len(rest) != 0 {
		t.Fatalf("rule P34: Create is answered with % x behind the ID", rest)
	}
	bob.want("rule P30: Join", rawGroup, operation(4, nil, "group", group), operation(4, []byte{0, 0}, "last", "0", "more", "0")[1:])
	joined := frame(0, rawGroup, 0, operation(13, nil, "by", "bob", "event", "joined", "group", group, "user", "bob"))
	ann.expect("rule P34: the notice", joined)
	bob.expect("rule P34: the notice", joined)

	// Ann says hello: the answer has its number and its time. Bob gets it, and she does not.
	id := unhex("0197abcdef01723489ab0123456789ab")
	hello := operation(1, append(append(bytes.Clone(id), 0, 1), "hello"...), "group", group)
	answer := ann.ask(rawChat, hello)
	at := string(answer[len(answer)-13:])
	sent := operation(1, nil, "seq", "1", "time-ms", at)
	if !bytes.Equal(answer, sent[1:]) {
		t.Fatalf("rule P29: Send is answered\n% x", answer)
	}
	ms := timeBytes(t, at)
	message := append(append(append(unhex("0000000000000001"), id...), ms...), unhex("00 0001 03 616e6e 00000005 68656c6c6f")...)
	bob.expect("rule P29: the message", frame(0, rawChat, 0, operation(2, message, "group", group)))
	ann.want("rule P33: the repeated Send", rawChat, hello, sent[1:])

	// Bob reads it from history: first = 1, more = 0, a list of one.
	list := func(messages ...[]byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(messages))), bytes.Join(messages, nil)...)
	}
	bob.want("rule P31: History", rawChat, operation(3, nil, "after", "0", "group", group), operation(3, list(message), "first", "1", "more", "0")[1:])

	// Ann takes it back, and the content is gone.
	ann.want("rule P32: Recall", rawChat, operation(4, nil, "group", group, "seq", "1"), operation(4, nil, "seq", "2")[1:])
	got := bob.read()
	head := operation(2, unhex("0000000000000002"), "group", group)
	tail := unhex("04 0000 03 616e6e 00000008 0000000000000001")
	if !bytes.Equal(got, frame(0, rawChat, 0, got[16:])) || !bytes.HasPrefix(got[16:], head) || !bytes.HasSuffix(got, tail) || len(got) != 16+len(head)+16+8+len(tail) {
		t.Fatalf("rule P32: the recall is\n% x", got)
	}
	recall := got[16+len(head)-8:]
	recalled := append(append(append(unhex("0000000000000001"), id...), ms...), unhex("02 0001 03 616e6e 00000000")...)
	bob.want("rule P32: History", rawChat, operation(3, nil, "group", group), operation(3, list(recalled, recall), "first", "1", "more", "0")[1:])
	bob.refused("rule P32: a Recall", rawChat, operation(4, nil, "group", group, "seq", "1"), 5121)

	// Ann's conversations: the group, with its last number.
	conversation := append(append([]byte{0, 1, 1, byte(len(group))}, group...), unhex("0000000000000002")...)
	ann.want("rule P31: Conversations", rawChat, operation(5, nil), operation(5, conversation)[1:])
	bob.id++
	bob.write(frame(0, rawGroup, bob.id, operation(5, nil, "group", group)))
	bob.expect("rule P34: the notice", frame(0, rawGroup, 0, operation(13, nil, "by", "bob", "event", "left", "group", group, "user", "bob")))
	bob.expect("rule P34: the answer to Leave", frame(1, rawGroup, bob.id, operation(5, nil)))
	bob.refused("rule P36: a Send", rawChat, hello, 5101)
}

// timeBytes is the time of a field as a message has it.
func timeBytes(t *testing.T, ms string) []byte {
	t.Helper()
	var n uint64
	if _, err := fmt.Sscan(ms, &n); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.AppendUint64(nil, n)
}
