package wsframe

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// valid are texts that are UTF-8, by the group of their cases.
var valid = map[string][]string{
	"6.2":  {"Hello-µ@ßöäüàá-UTF-8!!"},
	"6.5":  {"κ", "κό", "κόσ", "κόσμ", "κόσμε"},
	"6.7":  {"\x00", "\u0080", "\u0800", "\U00010000"},
	"6.9":  {"\x7F", "\u07FF", "\uFFFF", "\U0010FFFF"},
	"6.11": {"\uD7FF", "\uE000", "\uFFFD", "\U0010FFFF", "\U0010FFFE"},
	"6.22": {"\uFFFE", "\uFFFF", "\U0001FFFE", "\U0001FFFF", "\U0002FFFE", "\U0007FFFF", "\U0008FFFE", "\U000FFFFF", "\U0010FFFE", "\uFDD0", "\uFDEF"},
	"6.23": {"\uFFFC", "\uFFFD", "\uFFF9", "\uFFFA", "\uFFFB", "\uFEFF", "\u2028"},
}

// wrong are bytes that no text has. In each pair the first is what may still become one.
var wrong = map[string][][2]string{
	"6.3": {{"κόσμε\xED", "\xA0\x80edited"}},
	"6.4": {{"κόσμε\xF4", "\x90\x80\x80edited"}, {"κόσμε\xF4", "\x90"}, {"κόσμε", "\xF5"}, {"κόσμε\xE1\x80", "\xE1\x80\x80"}},
	"6.8": {{"", "\xF8\x88\x80\x80\x80"}, {"", "\xFC\x84\x80\x80\x80\x80"}},
	"6.10": {{"\xF4", "\x90\x80\x80"}, {"", "\xF7\xBF\xBF\xBF"}, {"", "\xFB\xBF\xBF\xBF\xBF"},
		{"", "\xFD\xBF\xBF\xBF\xBF\xBF"}},
	"6.11": {{"\xF4", "\x90\x80\x80"}},
	"6.12": {{"", "\x80"}, {"", "\xBF"}, {"", "\x80\xBF"}, {"", "\x80\xBF\x80"}, {"a", "\x80\xBF\x80\xBF"}, {"é", "\x80"},
		{"€", "\x80"}, {"\U00010000", "\xBF"}},
	"6.13": {{"\xC3", " \xC4 "}, {"\xE0", " "}, {"\xEF", "a"}, {"\xF0", " "}, {"", "\xF8 "}, {"", "\xFC "}},
	"6.14": {{"\xC3", "x"}, {"\xE0\xA0", "x"}, {"\xE1\x80", "x"}, {"\xF0\x90\x80", "x"}, {"\xF4\x8F\xBF", "x"}, {"\xDF", "\xDF"},
		{"\xEF\xBF", "\xEF"}, {"\xF1\x80\x80", "\xC0"}},
	"6.15": {{"\xC2", "\xE0\xA0\xF0\x90\x80"}},
	"6.16": {{"", "\xFE"}, {"", "\xFF"}, {"", "\xFE\xFE\xFF\xFF"}},
	"6.17": {{"", "\xC0\xAF"}, {"\xE0", "\x80\xAF"}, {"\xF0", "\x80\x80\xAF"}, {"", "\xF8\x80\x80\x80\xAF"}, {"", "\xFC\x80\x80\x80\x80\xAF"}},
	"6.18": {{"", "\xC1\xBF"}, {"\xE0", "\x9F\xBF"}, {"\xF0", "\x8F\xBF\xBF"}, {"", "\xF8\x87\xBF\xBF\xBF"}, {"", "\xFC\x83\xBF\xBF\xBF\xBF"}},
	"6.19": {{"", "\xC0\x80"}, {"\xE0", "\x80\x80"}, {"\xF0", "\x80\x80\x80"}, {"", "\xF8\x80\x80\x80\x80"}, {"", "\xFC\x80\x80\x80\x80\x80"}},
	"6.20": {{"\xED", "\xA0\x80"}, {"\xED", "\xAD\xBF"}, {"\xED", "\xAE\x80"}, {"\xED", "\xAF\xBF"}, {"\xED", "\xB0\x80"}, {"\xED", "\xBE\x80"},
		{"\xED", "\xBF\xBF"}},
	"6.21": {{"\xED", "\xA0\x80\xED\xB0\x80"}, {"\xED", "\xA0\x80\xED\xBF\xBF"}, {"\xED", "\xAD\xBF\xED\xB0\x80"}, {"\xED", "\xAD\xBF\xED\xBF\xBF"},
		{"\xED", "\xAE\x80\xED\xB0\x80"}, {"\xED", "\xAE\x80\xED\xBF\xBF"}, {"\xED", "\xAF\xBF\xED\xB0\x80"}, {"\xED", "\xAF\xBF\xED\xBF\xBF"}},
}

// utf8Rows are of text, RFC 6455 sections 5.6 and 8.1.
func utf8Rows(s *side) (rows []row) {
	add := func(r row) {
		r.text = true
		rows = append(rows, r)
	}
	hollow := func(n int) Found { return Found{Hollow: n * s.header} }
	add(row{name: "6.1.1: an empty text", raw: s.message(true, ""), payload: s.line, found: hollow(1)})
	add(row{name: "6.1.2: an empty text in three fragments", raw: s.parts(true, "", "", ""), payload: s.line, found: hollow(3)})
	add(row{name: "6.1.3: three fragments, of which the second is not empty", raw: s.parts(true, "", "middle", ""), payload: "middle" + s.line, found: hollow(2)})
	for _, group := range slices.Sorted(maps.Keys(valid)) {
		for i, text := range valid[group] {
			name := fmt.Sprintf("%s.%d: %q", group, i+1, text)
			add(row{name: name, raw: s.message(true, text), payload: text + s.line})
			if len(text) > 1 {
				add(row{name: name + " in fragments of a byte", raw: s.parts(true, pieces(text, 1)...), payload: text + s.line})
				add(row{name: name + " twice", raw: s.message(true, text) + s.parts(true, text[:1], text[1:]), payload: text + s.line + text + s.line})
			}
		}
	}
	for _, group := range slices.Sorted(maps.Keys(wrong)) {
		for i, w := range wrong[group] {
			name := fmt.Sprintf("%s.%d: %q", group, i+1, w[0]+w[1])
			all := w[0] + w[1]
			add(row{name: name, raw: s.message(true, all), payload: w[0], err: InvalidData, fed: s.header + len(w[0]) + 1})
			add(row{name: name + " in two fragments", raw: s.begun(true, w[0]) + s.frame(Continuation, true, w[1]), payload: w[0], err: InvalidData,
				fed: 2*s.header + len(w[0]) + 1, found: hollow(count(w[0] == ""))})
			if w[0] != "" && w[0][len(w[0])-1] >= 0xC0 { // ends within a character
				add(row{name: name + ", which has no end", raw: s.message(true, w[0]), payload: w[0], err: InvalidData})
			}
		}
	}
	long := "\U0010FFFF"
	for n := 1; n < len(long); n++ {
		add(row{name: fmt.Sprintf("6.6.%d: the first %d bytes of a character", n, n), raw: s.message(true, long[:n]), payload: long[:n], err: InvalidData})
		add(row{name: fmt.Sprintf("6.6.%d: the first %d bytes of a character, then an empty fragment", n, n), raw: s.parts(true, "x"+long[:n], ""),
			payload: "x" + long[:n], err: InvalidData, found: hollow(1)})
		add(row{name: fmt.Sprintf("6.6.%d: a character in two fragments, a Ping between them", n), payload: "x" + long + "y" + s.line,
			raw:   s.begun(true, "x"+long[:n]) + s.ping("ping") + s.frame(Continuation, true, long[n:]+"y"),
			found: s.pinged("ping", 4)})
		add(row{name: fmt.Sprintf("6.6.%d: the first %d bytes of a character, and the rest in the next message", n, n),
			raw: s.message(true, long[:n]) + s.message(true, long[n:]), payload: long[:n], err: InvalidData})
	}
	add(row{name: "6.4.1: bytes that are no text in a message that goes on", raw: s.begun(true, "κόσμε\xF4\x90") + s.frame(Continuation, true, "x"),
		payload: "κόσμε\xF4", err: InvalidData, fed: s.header + len("κόσμε") + 2})
	add(row{name: "6.4.2: bytes that are no text in the middle of a long message", payload: filler(3000), err: InvalidData,
		raw: s.message(true, filler(3000)+"\xFF"+filler(3000)), fed: s.header + 2 + 3001})
	rows = append(rows, row{name: "6.3: bytes that are no text in a binary message", raw: s.message(false, "\xFF\xED\xA0\x80"), payload: "\xFF\xED\xA0\x80"})
	return rows
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// lineRows are of messages of protocol.Line, which are one line each.
func lineRows(s *side) []row {
	if s.server { // the server's messages have lines as they come
		return []row{
			{name: "lines: a server's message has several", text: true, raw: s.message(true, "a\nb\n"), payload: "a\nb\n"},
			{name: "lines: a server's message has half a line", text: true, raw: s.parts(true, "a\nb", "c\n"), payload: "a\nbc\n"},
			{name: "lines: a server's message has no line feed", text: true, raw: s.message(true, "a"), payload: "a"},
		}
	}
	rows := []row{
		{name: "lines: a line feed at the end", raw: s.message(true, "a\n"), payload: "a\n"},
		{name: "lines: CR LF at the end", raw: s.message(true, "a\r\n"), payload: "a\r\n"},
		{name: "lines: CR at the end", raw: s.message(true, "a\r"), payload: "a\r\n"},
		{name: "lines: a line feed alone", raw: s.message(true, "\n"), payload: "\n"},
		{name: "lines: a line feed in a fragment of its own", raw: s.parts(true, "a", "\n"), payload: "a\n"},
		{name: "lines: a line feed, then an empty fragment", raw: s.parts(true, "a\n", ""), payload: "a\n", found: Found{Hollow: s.header}},
		{name: "lines: two messages, the first with a line feed", raw: s.message(true, "a\n") + s.message(true, "b"), payload: "a\nb\n"},
		{name: "lines: two messages, the second with a line feed", raw: s.message(true, "a") + s.message(true, "b\n"), payload: "a\nb\n"},
		{name: "lines: a Ping behind a message", raw: s.message(true, "a") + s.ping("p"), payload: "a\n", found: s.pinged("p", 1)},
		{name: "lines: a message behind an empty one", raw: s.message(true, "") + s.message(true, "b"), payload: "\nb\n", found: Found{Hollow: s.header}},
		{name: "lines: a Close behind a message", raw: s.message(true, "a") + s.close(Normal, ""), payload: "a\n", found: s.closed(Normal, "", 2)},
		{name: "lines: a mistake behind a message", raw: s.message(true, "a") + s.frame(3, true, ""), payload: "a\n", err: ProtocolError},
		{name: "lines: a line feed within", raw: s.message(true, "a\nb"), payload: "a\n", err: InvalidData, fed: s.header + 3},
		{name: "lines: two line feeds", raw: s.message(true, "a\n\n"), payload: "a\n", err: InvalidData, fed: s.header + 3},
		{name: "lines: a line feed at the beginning", raw: s.message(true, "\na"), payload: "\n", err: InvalidData, fed: s.header + 2},
		{name: "lines: a line feed at the end of a fragment", raw: s.parts(true, "a\n", "b"), payload: "a\n", err: InvalidData, fed: 2*s.header + 3},
		{name: "lines: a line feed within the second fragment", raw: s.parts(true, "a", "b\nc"), payload: "ab\n", err: InvalidData, fed: 2*s.header + 4},
		{name: "lines: a line feed within a character", raw: s.message(true, "a\xC3\nb"), payload: "a\xC3", err: InvalidData, fed: s.header + 3},
		{name: "lines: a line feed, and then no UTF-8", raw: s.message(true, "a\n\xFF"), payload: "a\n", err: InvalidData, fed: s.header + 3},
		{name: "lines: no UTF-8, and then a line feed", raw: s.message(true, "a\xFF\nb"), payload: "a", err: InvalidData, fed: s.header + 2},
	}
	for i := range rows {
		rows[i].text = true
	}
	return append(rows, row{name: "lines: line feeds in a binary message", raw: s.message(false, "a\nb\n\n"), payload: "a\nb\n\n"})
}

// closeRows are of Close, RFC 6455 sections 5.5.1 and 7.4.
func closeRows(s *side) (rows []row) {
	none := s.frame(Close, true, "")
	add := func(no, what, raw, payload string, f Found, err uint16) {
		rows = append(rows, row{name: "7." + no + ": " + what, text: strings.Contains(what, "text"), raw: raw, payload: payload, found: f, err: err})
	}
	normal := s.closed(Normal, "", 2)
	add("1.1", "a text, then a Close", s.message(true, "Hello")+s.close(Normal, ""), s.lines(true, "Hello"), normal, 0)
	add("1.2", "two Closes", s.close(Normal, "")+s.close(GoingAway, ""), "", normal, 0)
	add("1.3", "a Ping after a Close", s.close(Normal, "")+s.ping("x"), "", normal, 0)
	add("1.4", "a text after a Close", s.close(Normal, "")+s.message(true, "Hello"), "", normal, 0)
	add("1.5", "a Close within a message, and the rest of it", s.begun(false, "fragment1")+s.close(Normal, "")+s.frame(Continuation, true, "fragment2"),
		"fragment1", normal, 0)
	add("1.6", "a large text, then a Close, then a Ping", s.message(true, filler(4000))+s.close(Normal, "")+s.ping(""), s.lines(true, filler(4000)), normal, 0)
	add("1.4", "what is no frame after a Close", s.close(Normal, "")+"\xFF\xFF\xFF", "", normal, 0)
	add("1.3", "a Ping, then a Close", s.ping("x")+s.close(Normal, "bye"), "", func() Found {
		f := s.closed(Normal, "bye", 1, 5)
		f.Ping = []byte("x")
		return f
	}(), 0)
	add("3.1", "no payload", none, "", s.closed(NoCode, "", 0), 0)
	add("3.2", "a payload of one byte", s.frame(Close, true, "a"), "", s.controls(1), ProtocolError)
	add("3.3", "a code alone", s.close(Normal, ""), "", normal, 0)
	add("3.4", "a reason", s.close(Normal, "Hello World!"), "", s.closed(Normal, "Hello World!", 14), 0)
	add("3.5", "a reason of 123 bytes", s.close(Normal, filler(123)), "", s.closed(Normal, filler(123), 125), 0)
	add("3.6", "a reason of 124 bytes", s.close(Normal, filler(124)), "", Found{}, ProtocolError)
	bad := func(code uint16, sizes ...int) Found {
		f := s.controls(sizes...)
		f.Code = code
		return f
	}
	add("5.1", "a reason that is not UTF-8", s.close(Normal, "κόσμε\xED\xA0\x80"), "", bad(Normal, 2+len("κόσμε")+3), InvalidData)
	add("5.1", "a reason that ends within a character", s.close(4000, "\xC3"), "", bad(4000, 3), InvalidData)
	add("5.1", "a reason that is not UTF-8, with a code that must not be sent", s.close(1005, "\xFF"), "", bad(1005, 3), ProtocolError)
	for i, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999, 1012, 1013, 1014} {
		add(fmt.Sprintf("7.%d", i+1), fmt.Sprintf("the code %d", code), s.close(code, ""), "", s.closed(code, "", 2), 0)
	}
	for i, code := range []uint16{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 1015, 1} {
		add(fmt.Sprintf("9.%d", i+1), fmt.Sprintf("the code %d", code), s.close(code, ""), "", bad(code, 2), ProtocolError)
		add(fmt.Sprintf("9.%d", i+1), fmt.Sprintf("the code %d with a reason", code), s.message(false, "x")+s.close(code, "why"), "x", bad(code, 5), ProtocolError)
	}
	for i, code := range []uint16{5000, 65535} {
		add(fmt.Sprintf("13.%d", i+1), fmt.Sprintf("the code %d", code), s.close(code, ""), "", bad(code, 2), ProtocolError)
	}
	rows = append(rows,
		row{name: "7.1: the rest of a Close has not come", raw: cutOff(s.close(Normal, "bye"), 1), open: true},
		row{name: "7.1: a Close within a header", raw: s.begun(false, "x") + s.close(4999, ""), payload: "x", found: s.closed(4999, "", 2)})
	return rows
}

// largeRows are of messages that are large, or have many fragments.
func largeRows(s *side) (rows []row) {
	for group, text := range []bool{true, false} {
		for i, n := range []int{16 << 10, 64 << 10, 100 << 10} {
			rows = append(rows, row{name: fmt.Sprintf("9.%d.%d: a %s message of %d KiB", group+1, i+1, opName(text), n>>10), text: text,
				raw: s.message(text, filler(n)), payload: s.lines(text, filler(n))})
		}
		for i, n := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10} {
			rows = append(rows, row{name: fmt.Sprintf("9.%d.%d: 32 KiB in %s fragments of %d bytes", group+3, i+1, opName(text), n), text: text,
				raw: s.parts(text, pieces(filler(32<<10), n)...), payload: s.lines(text, filler(32<<10))})
		}
		for i, n := range []int{0, 16, 64, 256, 1 << 10, 4 << 10} {
			var all []string
			raw := ""
			for range 20 {
				all = append(all, filler(n))
				raw += s.message(text, filler(n))
			}
			r := row{name: fmt.Sprintf("9.%d.%d: 20 %s messages of %d bytes", group+7, i+1, opName(text), n), text: text, raw: raw, payload: s.lines(text, all...)}
			if n == 0 {
				r.found.Hollow = 20 * s.header
			}
			rows = append(rows, r)
		}
	}
	rows = append(rows,
		row{name: "10.1.1: a text of 64 KiB in fragments of 1,300 bytes", text: true, raw: s.parts(true, pieces(filler(64<<10), 1300)...),
			payload: s.lines(true, filler(64<<10))},
		row{name: "10.1.1: characters of three bytes in fragments of 1,000 bytes", text: true,
			raw: s.parts(true, pieces(strings.Repeat("€", 5000), 1000)...), payload: s.lines(true, strings.Repeat("€", 5000))},
		row{name: "10.1.1: a binary message of 64 KiB in fragments of 1,300 bytes", raw: s.parts(false, pieces(filler(64<<10), 1300)...),
			payload: filler(64 << 10)})
	return rows
}

// pieces cuts a text into pieces of n bytes.
func pieces(text string, n int) (all []string) {
	for len(text) > n {
		all = append(all, text[:n])
		text = text[n:]
	}
	return append(all, text)
}
