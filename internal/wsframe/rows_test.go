package wsframe

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// filler returns so many bytes that are text.
func filler(n int) string { return strings.Repeat("0123456789abcdef", n/16+1)[:n] }

// lines returns what a Reader makes of text messages, or of binary ones.
func (s *side) lines(text bool, messages ...string) string {
	if !text || s.server {
		return strings.Join(messages, "")
	}
	return strings.Join(messages, "\n") + "\n"
}

// lengthRows are of the length of a payload, RFC 6455 section 5.2.
func lengthRows(s *side) (rows []row) {
	for group, text := range []bool{true, false} {
		for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536} {
			body := filler(n)
			if !text {
				body = strings.Repeat("\xFE\x00", n/2+1)[:n]
			}
			r := row{name: fmt.Sprintf("1.%d.%d: a %s message of %d bytes", group+1, i+1, opName(text), n), text: text,
				raw: s.message(text, body), payload: s.lines(text, body)}
			if n == 0 {
				r.found.Hollow = s.header
			}
			rows = append(rows, r)
		}
		rows = append(rows,
			row{name: fmt.Sprintf("1.%d.8: three %s messages at once", group+1, opName(text)), text: text,
				raw:     s.message(text, "one") + s.message(text, filler(126)) + s.message(text, "three"),
				payload: s.lines(text, "one", filler(126), "three")},
			row{name: fmt.Sprintf("1.%d: the rest of a %s message has not come", group+1, opName(text)), text: text,
				raw: cutOff(s.message(text, "message"), 2), payload: "messa", open: true},
			row{name: fmt.Sprintf("1.%d: the rest of a header has not come, %s", group+1, opName(text)), text: text,
				raw: s.message(text, "one") + s.message(text, filler(126))[:3], payload: s.lines(text, "one"), open: true},
			row{name: fmt.Sprintf("1.%d: a %s message without an end, of 2^62 bytes", group+1, opName(text)), text: text,
				raw: s.long(opOf(text), 1<<62) + "\x00\x00", payload: s.unmasked(2), open: true},
			row{name: fmt.Sprintf("1.%d: 125 bytes, their length in 16 bits, %s", group+1, opName(text)), text: text,
				raw: s.medium(opOf(text), 125) + filler(125), err: ProtocolError},
			row{name: fmt.Sprintf("1.%d: no bytes, their length in 16 bits, %s", group+1, opName(text)), text: text,
				raw: s.medium(opOf(text), 0), err: ProtocolError},
			row{name: fmt.Sprintf("1.%d: 65,535 bytes, their length in 64 bits, %s", group+1, opName(text)), text: text,
				raw: s.long(opOf(text), 65535) + "x", err: ProtocolError},
			row{name: fmt.Sprintf("1.%d: one byte, its length in 64 bits, %s", group+1, opName(text)), text: text,
				raw: s.long(opOf(text), 1) + "x", err: ProtocolError},
			row{name: fmt.Sprintf("1.%d: a length with its first bit set, %s", group+1, opName(text)), text: text,
				raw: s.long(opOf(text), 1<<63|1<<17) + "x", err: ProtocolError},
			row{name: fmt.Sprintf("1.%d: the largest length, with its first bit set, %s", group+1, opName(text)), text: text,
				raw: s.long(opOf(text), 1<<64-1) + "x", err: ProtocolError})
	}
	return rows
}

func cutOff(b string, n int) string { return b[:len(b)-n] }

// medium returns a header with the length in 16 bits; the mask of a client is 0.
func (s *side) medium(op byte, length uint16) string {
	return s.unmaskedHeader(binary.BigEndian.AppendUint16([]byte{op | fin, 126}, length))
}

// long returns a header with the length in 64 bits; the mask of a client is 0.
func (s *side) long(op byte, length uint64) string {
	return s.unmaskedHeader(binary.BigEndian.AppendUint64([]byte{op | fin, 127}, length))
}

func (s *side) unmaskedHeader(b []byte) string {
	if s.server {
		return string(b)
	}
	b[1] |= masked
	return string(b) + "\x00\x00\x00\x00"
}

// unmasked returns so many zeros.
func (*side) unmasked(n int) string { return strings.Repeat("\x00", n) }

// pingRows are of Ping and Pong, RFC 6455 sections 5.5.2 and 5.5.3.
func pingRows(s *side) (rows []row) {
	for i, payload := range []string{"", "Hello", "\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF", strings.Repeat("\xFE", 125)} {
		rows = append(rows, row{name: fmt.Sprintf("2.%d: a Ping of %d bytes", i+1, len(payload)), raw: s.ping(payload),
			found: s.pinged(payload, len(payload))})
	}
	for _, n := range []int{1, 2, 3, 4, 7, 8, 9, 124} {
		rows = append(rows,
			row{name: fmt.Sprintf("2.2: a Ping of %d bytes", n), raw: s.ping(filler(n)), found: s.pinged(filler(n), n)},
			row{name: fmt.Sprintf("2.8: a Pong of %d bytes", n), raw: s.pong(filler(n)), found: s.controls(n)})
	}
	for _, n := range []int{126, 127, 1000, 65536} {
		rows = append(rows,
			row{name: fmt.Sprintf("2.5: a Ping of %d bytes", n), raw: s.ping(filler(n)), err: ProtocolError},
			row{name: fmt.Sprintf("2.5: a Pong of %d bytes", n), raw: s.pong(filler(n)), err: ProtocolError},
			row{name: fmt.Sprintf("2.5: a Close of %d bytes", n), raw: s.close(Normal, filler(n-2)), err: ProtocolError})
	}
	ten, found := "", s.pinged("payload-9", 9, 9, 9, 9, 9, 9, 9, 9, 9, 9)
	for i := range 10 {
		ten += s.ping(fmt.Sprint("payload-", i))
	}
	return append(rows,
		row{name: "2.7: a Pong without payload", raw: s.pong(""), found: s.controls(0)},
		row{name: "2.8: a Pong that answers nothing", raw: s.pong("unsolicited"), found: s.controls(11)},
		row{name: "2.9: a Pong, then a Ping", raw: s.pong("unsolicited") + s.ping("a ping"), found: s.pinged("a ping", 11, 6)},
		row{name: "2.10: ten Pings, of which the latest counts", raw: ten, found: found},
		row{name: "2.10: a Ping without payload after one with payload", raw: s.ping("x") + s.ping(""), found: s.pinged("", 1, 0)},
		row{name: "2.11: ten Pings and a message between them", raw: ten + s.message(false, "message") + ten, payload: "message",
			found: s.twice(found)},
		row{name: "2: the rest of a Ping has not come", raw: s.message(false, "x") + cutOff(s.ping("payload"), 1), payload: "x", open: true},
		row{name: "2: a Ping before a text", text: true, raw: s.ping("p") + s.message(true, "text"), payload: s.lines(true, "text"),
			found: s.pinged("p", 1)})
}

func (*side) twice(f Found) Found {
	f.Controls, f.Size = 2*f.Controls, 2*f.Size
	return f
}

// reservedRows are of reserved bits and opcodes, RFC 6455 section 5.2.
func reservedRows(s *side) (rows []row) {
	with := func(frame string, bits byte) string { return string([]byte{frame[0] | bits<<4}) + frame[1:] }
	for i, c := range []struct {
		what  string
		frame string
	}{
		{"a text", s.message(true, "message")}, {"a text", s.message(true, "message")}, {"a text", s.message(true, "")},
		{"a Ping", s.ping("")}, {"a text", s.message(true, "message")}, {"a Ping", s.ping("ping")}, {"a Close", s.close(Normal, "")},
	} {
		rows = append(rows,
			row{name: fmt.Sprintf("3.%d: %s with the reserved bits %d", i+1, c.what, i+1), text: true, raw: with(c.frame, byte(i+1)), err: ProtocolError},
			row{name: fmt.Sprintf("3.%d: a message, then %s with the reserved bits %d, then a Ping", i+1, c.what, i+1), text: true,
				raw: s.message(true, "small") + with(c.frame, byte(i+1)) + s.ping(""), payload: s.lines(true, "small"), err: ProtocolError})
	}
	rows = append(rows,
		row{name: "3.2: a binary message with a reserved bit", raw: with(s.message(false, "x"), 2), err: ProtocolError},
		row{name: "3.4: a fragment with a reserved bit", raw: s.begun(false, "x") + with(s.frame(Continuation, true, "y"), 4), payload: "x", err: ProtocolError})
	for i := range 5 {
		data, control := byte(3+i), byte(11+i)
		rows = append(rows,
			row{name: fmt.Sprintf("4.1.%d: the opcode %d", i+1, data), raw: s.frame(data, true, ""), err: ProtocolError},
			row{name: fmt.Sprintf("4.1.%d: a message, then the opcode %d with payload, then a Ping", i+1, data),
				raw: s.message(false, "x") + s.frame(data, true, "payload") + s.ping(""), payload: "x", err: ProtocolError},
			row{name: fmt.Sprintf("4.1.%d: the opcode %d within a message", i+1, data), text: true,
				raw: s.begun(true, "x") + s.frame(data, false, "y"), payload: "x", err: ProtocolError},
			row{name: fmt.Sprintf("4.2.%d: the opcode %d", i+1, control), raw: s.frame(control, true, ""), err: ProtocolError},
			row{name: fmt.Sprintf("4.2.%d: a message, then the opcode %d with payload, then a Ping", i+1, control), text: true,
				raw: s.message(true, "x") + s.frame(control, true, "payload") + s.ping(""), payload: s.lines(true, "x"), err: ProtocolError},
			row{name: fmt.Sprintf("4.2.%d: the opcode %d within a message", i+1, control),
				raw: s.begun(false, "x") + s.frame(control, true, "y"), payload: "x", err: ProtocolError})
	}
	return rows
}

// fragmentRows are of fragments, RFC 6455 section 5.4.
func fragmentRows(s *side) (rows []row) {
	cont := func(last bool, payload string) string { return s.frame(Continuation, last, payload) }
	for i, op := range []byte{Ping, Pong, Close} {
		what := []string{"Ping", "Pong", "Close"}[i]
		rows = append(rows,
			row{name: fmt.Sprintf("5.%d: a %s in two fragments", i+1, what), raw: s.frame(op, false, "ab") + cont(true, "cd"), err: ProtocolError},
			row{name: fmt.Sprintf("5.%d: a %s in two fragments within a message", i+1, what),
				raw: s.begun(false, "x") + s.frame(op, false, "ab") + cont(true, "cd"), payload: "x", err: ProtocolError})
	}
	for _, text := range []bool{true, false} {
		add := func(no, what, raw, payload string, f Found, err uint16) {
			rows = append(rows, row{name: "5." + no + ": " + opName(text) + ": " + what, text: text, raw: raw, payload: payload, found: f, err: err})
		}
		two := s.lines(text, "fragment1fragment2")
		add("3", "two fragments", s.parts(text, "fragment1", "fragment2"), two, Found{}, 0)
		add("4", "three fragments", s.parts(text, "fra", "gment1fragment", "2"), two, Found{}, 0)
		add("5", "18 fragments of a byte", s.parts(text, strings.Split("fragment1fragment2", "")...), two, Found{}, 0)
		ping := s.pinged("ping payload", 12)
		add("6", "a Ping between two fragments", s.begun(text, "fragment1")+s.ping("ping payload")+cont(true, "fragment2"), two, ping, 0)
		add("7", "a Pong between two fragments", s.begun(text, "fragment1")+s.pong("ping payload")+cont(true, "fragment2"), two, s.controls(12), 0)
		add("8", "a Ping without payload between two fragments", s.begun(text, "fragment1")+s.ping("")+cont(true, "fragment2"), two, s.pinged("", 0), 0)
		for i, last := range []bool{true, true, true, false, false, false} {
			what := "a continuation of nothing, and a message behind it"
			no := fmt.Sprint(9 + i)
			if !last {
				what = "a continuation of nothing that goes on, and a message behind it"
			}
			if i%3 == 0 {
				add(no, what, cont(last, "fragment1")+s.message(text, "x"), "", Found{}, ProtocolError)
				continue
			}
			add(no, what+", after a message", s.message(text, "first")+cont(last, strings.Repeat("x", i))+s.message(text, "x"),
				s.lines(text, "first"), Found{}, ProtocolError)
		}
		add("15", "a message of two fragments, then a continuation of nothing", s.parts(text, "fragment1", "fragment2")+cont(true, "fragment3")+
			s.message(text, "x"), two, Found{}, ProtocolError)
		add("16", "a continuation of nothing, then fragments", cont(false, "fragment1")+s.parts(text, "a", "b"), "", Found{}, ProtocolError)
		add("17", "the end of nothing, then fragments", cont(true, "")+s.parts(text, "a", "b"), "", Found{}, ProtocolError)
		add("18", "a message within another", s.begun(text, "fragment1")+s.message(text, "fragment2"), "fragment1", Found{}, ProtocolError)
		add("18", "the first fragment twice", s.begun(text, "fragment1")+s.begun(text, "fragment2"), "fragment1", Found{}, ProtocolError)
		add("18", "a message of the other kind within another", s.begun(text, "fragment1")+s.message(!text, "fragment2"), "fragment1", Found{}, ProtocolError)
		five := s.begun(text, "fragment1", "fragment2") + s.ping("first") + cont(false, "fragment3") + cont(false, "fragment4") + s.ping("second") +
			cont(true, "fragment5")
		all := s.lines(text, "fragment1fragment2fragment3fragment4fragment5")
		add("19", "five fragments with Pings between them", five, all, s.pinged("second", 5, 6), 0)
		add("20", "the same and a message behind it", five+s.message(text, "more"), all+s.lines(text, "more"), s.pinged("second", 5, 6), 0)
		hollow := func(n int) Found { return Found{Hollow: n * s.header} }
		add("3", "the first fragment is empty", s.parts(text, "", "x"), s.lines(text, "x"), hollow(1), 0)
		add("3", "the last fragment is empty", s.parts(text, "x", ""), s.lines(text, "x"), hollow(1), 0)
		add("3", "all fragments are empty", s.parts(text, "", "", "", ""), s.lines(text, ""), hollow(4), 0)
		add("3", "two messages of fragments", s.parts(text, "a", "b")+s.parts(text, "c", "d"), s.lines(text, "ab", "cd"), Found{}, 0)
		rows = append(rows,
			row{name: "5.4: " + opName(text) + ": the rest of a message has not come", text: text, raw: s.begun(text, "a", "b"), payload: "ab", open: true},
			row{name: "5.6: " + opName(text) + ": a Ping, and the rest of a message has not come", text: text, raw: s.begun(text, "a") + s.ping(""),
				payload: "a", found: s.pinged("", 0), open: true})
	}
	return rows
}

// maskRows are of masks and of the kinds of messages, RFC 6455 sections 5.1 and 5.6; the test suite has no cases of them.
func maskRows(s *side) []row {
	other := sides[1]
	what := "without a mask"
	if s.server {
		other, what = sides[0], "with a mask"
	}
	rows := []row{
		{name: "5.1: a message " + what, raw: other.message(false, "x"), err: ProtocolError},
		{name: "5.1: a text " + what, text: true, raw: other.message(true, "x"), err: ProtocolError},
		{name: "5.1: a Ping " + what, raw: other.ping(""), err: ProtocolError},
		{name: "5.1: a Pong " + what, raw: other.pong("x"), err: ProtocolError},
		{name: "5.1: a Close " + what, raw: other.close(Normal, ""), err: ProtocolError},
		{name: "5.1: a message, then one " + what, raw: s.message(false, "x") + other.message(false, "y"), payload: "x", err: ProtocolError},
		{name: "5.1: a fragment " + what, raw: s.begun(false, "x") + other.frame(Continuation, true, "y"), payload: "x", err: ProtocolError},
		{name: "5.6: a text where messages are binary", raw: s.message(true, "x"), err: Unsupported},
		{name: "5.6: a binary message where messages are text", text: true, raw: s.message(false, "x"), err: Unsupported},
		{name: "5.6: a text after a binary message", raw: s.message(false, "x") + s.message(true, "y"), payload: "x", err: Unsupported},
		{name: "5.6: a binary message after a text", text: true, raw: s.message(true, "x") + s.message(false, "y"), payload: s.lines(true, "x"), err: Unsupported},
		{name: "5.6: the first fragment of a text where messages are binary", raw: s.begun(true, "x"), err: Unsupported},
		{name: "5.6: an empty text where messages are binary", raw: s.message(true, ""), err: Unsupported},
	}
	if !s.server {
		rows = append(rows,
			row{name: "5.3: a mask of zeros", raw: string(AppendMasked(nil, Binary, []byte(filler(700)), 0)), payload: filler(700)},
			row{name: "5.3: a mask of equal bytes", raw: string(AppendMasked(nil, Binary, []byte(filler(700)), 0xAAAAAAAA)), payload: filler(700)},
			row{name: "5.3: a Ping with a mask of zeros", raw: string(AppendMasked(nil, Ping, []byte("x"), 0)), found: s.pinged("x", 1)},
			row{name: "5.3: the payload is the mask", raw: string(AppendMasked(nil, Binary, []byte("\x01\x02\x03\x04\x01"), 0x04030201)),
				payload: "\x01\x02\x03\x04\x01"},
			row{name: "5.7: the example of a masked text", text: true, raw: "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", payload: "Hello\n"})
		for _, n := range []int{511, 512, 513, 1023, 1024, 1025, 1029, 1536} { // where unmask goes another way
			rows = append(rows, row{name: fmt.Sprintf("5.3: %d bytes behind a mask", n), raw: s.message(false, "abc") + s.message(false, filler(n)),
				payload: "abc" + filler(n)})
		}
	} else {
		rows = append(rows,
			row{name: "5.7: the example of a text", text: true, raw: "\x81\x05Hello", payload: "Hello"},
			row{name: "5.7: the example of a text in fragments", text: true, raw: "\x01\x03Hel\x80\x02lo", payload: "Hello"},
			row{name: "5.7: the example of a Ping", text: true, raw: "\x89\x05Hello", found: s.pinged("Hello", 5)})
	}
	return rows
}
