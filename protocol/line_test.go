package protocol

import (
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// What a person writes after the first line.
var lineCases = []struct {
	line string
	want Message
}{
	{"", Message{Type: TypeHeartbeat}},
	{"hello there", Message{Type: 1, Body: text("hello there")}},
	{"7 apples", Message{Type: 1, Body: text("7 apples")}},
	{" ", Message{Type: 1, Body: text(" ")}},
	{" /1 x", Message{Type: 1, Body: text(" /1 x")}},
	{"Latin-1 \xe9", Message{Type: 1, Body: text("Latin-1 \xe9")}},
	{"/1 hello", Message{Type: 1, Body: text("hello")}},
	{"/1", Message{Type: 1}},
	{"/1 ", Message{Type: 1}},
	{"/1  hello ", Message{Type: 1, Body: text(" hello ")}},
	{"/65279 x", Message{Type: 0xFEFF, Body: text("x")}},
	{"/0x1F hello", Message{Type: 0x1F, Body: text("hello")}},
	{"/0XfeFF hello", Message{Type: 0xFEFF, Body: text("hello")}},
	{"/010 decimal", Message{Type: 10, Body: text("decimal")}},
	{"/1:7 hello", Message{Type: 1, ID: 7, Body: text("hello")}},
	{"/1:7", Message{Type: 1, ID: 7}},
	{"/1:4294967295 x", Message{Type: 1, ID: 1<<32 - 1, Body: text("x")}},
	{"/1 1234 apples", Message{Type: 1, Body: text("1234 apples")}},
	{"/1 /2 x", Message{Type: 1, Body: text("/2 x")}},
	{"/0xFF00:5", Message{Type: TypeHeartbeat, ID: 5}},
	{"/0xFF02", Message{Type: TypeClose, Body: text("\x03\xe8\x00\x00")}},
	{"/0xFF02 bye", Message{Type: TypeClose, Body: text("\x03\xe8\x00\x03bye")}},
	{"@bob hello", Message{Type: 1, DestUserID: "bob", Body: text("hello")}},
	{"@bob", Message{Type: 1, DestUserID: "bob"}},
	{"@bob @carol", Message{Type: 1, DestUserID: "bob", Body: text("@carol")}},
	{"@bob /1 hello", Message{Type: 1, DestUserID: "bob", Body: text("hello")}},
	{"@bob /0x10:7 hello", Message{Type: 16, ID: 7, DestUserID: "bob", Body: text("hello")}},
	{"@_0 /2:7 ping", Message{Type: 2, ID: 7, DestUserID: "_0", Body: text("ping")}},
	{`@bob\sthe\sbuilder x`, Message{Type: 1, DestUserID: "bob the builder", Body: text("x")}},
	{"@Zoë Grüße", Message{Type: 1, DestUserID: "Zoë", Body: text("Grüße")}},
	// Behind a type there are escapes; without one a text is what was typed.
	{`/1 a\\b\nc\rd\te\sf\x00\xFF`, Message{Type: 1, Body: text("a\\b\nc\rd\te f\x00\xff")}},
	{`/1 C:\dir \xg0 \x1`, Message{Type: 1, Body: text(`C:\dir \xg0 \x1`)}},
	{`/1 end\`, Message{Type: 1, Body: text(`end\`)}},
	{`C:\new\table \\ \x41`, Message{Type: 1, Body: text(`C:\new\table \\ \x41`)}},
	{`@bob C:\new`, Message{Type: 1, DestUserID: "bob", Body: text(`C:\new`)}},
	// What looks like something else and is not is a text, whole.
	{"#hello", Message{Type: 1, Body: text("#hello")}},
	{"# hello", Message{Type: 1, Body: text("# hello")}},
	{"#1 1234 apples", Message{Type: 1, Body: text("#1 1234 apples")}},
	{"<b> = ! *", Message{Type: 1, Body: text("<b> = ! *")}},
	{"= 4", Message{Type: 1, Body: text("= 4")}},
	{"! now", Message{Type: 1, Body: text("! now")}},
	{"* a star", Message{Type: 1, Body: text("* a star")}},
	{"/", Message{Type: 1, Body: text("/")}},
	{"/ 1", Message{Type: 1, Body: text("/ 1")}},
	{"/quit", Message{Type: 1, Body: text("/quit")}},
	{"/etc/passwd", Message{Type: 1, Body: text("/etc/passwd")}},
	{"/1st of May", Message{Type: 1, Body: text("/1st of May")}},
	{"/0 x", Message{Type: 1, Body: text("/0 x")}},
	{"/0x0 x", Message{Type: 1, Body: text("/0x0 x")}},
	{"/0x x", Message{Type: 1, Body: text("/0x x")}},
	{"/65536 x", Message{Type: 1, Body: text("/65536 x")}},
	{"/-1 x", Message{Type: 1, Body: text("/-1 x")}},
	{"/+1 x", Message{Type: 1, Body: text("/+1 x")}},
	{"/1_0 x", Message{Type: 1, Body: text("/1_0 x")}},
	{"/1: x", Message{Type: 1, Body: text("/1: x")}},
	{"/1:4294967296 x", Message{Type: 1, Body: text("/1:4294967296 x")}},
	{"/1\thello", Message{Type: 1, Body: text("/1\thello")}},
	{"@ home", Message{Type: 1, Body: text("@ home")}},
	{"@", Message{Type: 1, Body: text("@")}},
	{"@b\xff x", Message{Type: 1, Body: text("@b\xff x")}},
	{`@b\n x`, Message{Type: 1, Body: text(`@b\n x`)}},
	{"@" + strings.Repeat("x", 256) + " x", Message{Type: 1, Body: text("@" + strings.Repeat("x", 256) + " x")}},
	{"@bob /quit", Message{Type: 1, DestUserID: "bob", Body: text("/quit")}},
}

// One line is one message, ended by \n or \r\n, and nothing is taken before its end.
func TestLineDecode(t *testing.T) {
	for _, c := range lineCases {
		for _, ending := range []string{"\n", "\r\n"} {
			t.Run(c.line+ending, func(t *testing.T) {
				src := text(c.line + ending + "next")
				n := len(c.line + ending)
				var m Message
				for i := range n {
					if took, need, err := Line.Decode(src[:i], &m, DecodeOptions{Seen: i / 2}); took != 0 || need != i+1 || err != nil {
						t.Fatalf("of %d of %d bytes: %d, %d, %v", i, n, took, need, err)
					}
				}
				if took, _, err := Line.Decode(src, &m, DecodeOptions{MaxBody: 300, MaxFrame: 400, Seen: n - 1}); took != n || err != nil {
					t.Fatalf("Decode = %d, %v; want %d", took, err, n)
				}
				if len(m.Body) == 0 {
					m.Body = nil
				}
				if !reflect.DeepEqual(m, c.want) {
					t.Errorf("got %+v, want %+v", m, c.want)
				}
			})
		}
	}
}

// The first line is the user ID, and binds: it is a Logon, whose fields follow after tabs.
func TestLineFirst(t *testing.T) {
	for _, c := range []struct {
		line, user string
		fields     map[string]string
	}{
		{"alice\tsession=", "alice", nil}, // asks for its ID
		{"alice", "alice", nil},
		{`Zoë\sthe\s1st`, "Zoë the 1st", nil},
		{`\x23alice`, "#alice", nil},
		{"a/b@c", "a/b@c", nil},
		{`alice\\b\sc`, `alice\b c`, nil},
		{"alice\ttoken=secret", "alice", map[string]string{"token": "secret"}},
		{"alice\ttoken=a=b\tsession=0197", "alice", map[string]string{"token": "a=b", "session": "0197"}},
		{`alice` + "\t" + `a\x3db=\t\n`, "alice", map[string]string{"a=b": "\t\n"}},
		{"\ttoken=secret", "", map[string]string{"token": "secret"}},
		{"alice\tempty=", "alice", map[string]string{"empty": ""}},
		{"", "", nil}, // names no user; who logs on without one is not the codec's to judge
	} {
		t.Run(c.line, func(t *testing.T) {
			src := text(c.line + "\r\n")
			var m Message
			for i := range src {
				if took, need, err := Line.Decode(src[:i], &m, DecodeOptions{First: true}); took != 0 || need != i+1 || err != nil {
					t.Fatalf("of %d bytes: %d, %d, %v", i, took, need, err)
				}
			}
			if took, _, err := Line.Decode(src, &m, DecodeOptions{First: true}); took != len(src) || err != nil {
				t.Fatalf("Decode = %d, %v", took, err)
			}
			if m.Type != TypeLogon || m.UserID != c.user || m.ID == 0 || m.Flags != 0 || m.DestUserID != "" {
				t.Errorf("got %+v, want a Logon of %q that is answered", m, c.user)
			}
			fields, err := ParseStringMap(m.Body)
			if err != nil || len(fields) != len(c.fields) || len(fields) > 0 && !reflect.DeepEqual(fields, c.fields) {
				t.Errorf("the fields are %v, %v; want %v", fields, err, c.fields)
			}
		})
	}
}

func TestLineRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		name, line string
		first      bool
		text       string // what the refusal says
	}{
		{"a browser's request", "GET / HTTP/1.1", true, "no web server"},
		{"a page's form", "POST / HTTP/1.0", true, "no web server"},
		{"a request with a tab", "alice\tx=y HTTP/1.1", true, "no web server"},
		{"two words", "alice cooper", true, "one word"},
		{"a mail program", "EHLO example.org", true, "one word"},
		{"a later line's text", "hello, all", true, "one word"},
		{"a number sign", "#hello", true, "one word"},
		{"a destination", "@bob", true, "one word"},
		{"a type", "/1:7", true, "one word"},
		{"a database's request", "*1", true, "one word"},
		{"user ID of 256 bytes", long, true, "256 bytes"},
		{"user ID not UTF-8", "b\xff", true, "not valid UTF-8"},
		{"user ID that ends within a rune", "b\xc3", true, "not valid UTF-8"},
		{"user ID with a control character", "b\x1b[2J", true, "control character"},
		{"user ID with an escaped control character", `b\x1b`, true, "control character"},
		{"user ID with a carriage return", "b\rc", true, "control character"},
		{"a field without =", "alice\ttoken", true, "key=value"},
		{"an empty field", "alice\t", true, "key=value"},
		{"an empty key", "alice\t=secret", true, "empty key"},
		{"a key twice", "alice\tk=1\tk=2", true, "twice"},
		{"a value not UTF-8", "alice\tk=\xff", true, "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Message{DestUserID: "kept"}
			_, _, err := Line.Decode(text(c.line+"\n"), &m, DecodeOptions{First: c.first})
			if codeOf(err) != InvalidMessage || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want InvalidMessage with %q", err, c.text)
			}
			if !reflect.DeepEqual(m, Message{DestUserID: "kept"}) {
				t.Errorf("the message became %+v", m)
			}
		})
	}
}

// A first line's user ID is judged before the line's end has come: a binary client's frame, for instance, is refused
// by its first bytes.
func TestLineFirstIsJudgedAtOnce(t *testing.T) {
	frame := string(raw(0x52, 0, TypeLogon, 1, 0, "alice", "", nil))
	for _, src := range []string{frame[:2], "b\xff", "b\xc3\t", "GET ", "#", "*", strings.Repeat("x", 4*MaxUserID+1)} {
		if _, _, err := Line.Decode(text(src), &Message{}, DecodeOptions{First: true}); codeOf(err) != InvalidMessage {
			t.Errorf("of %q: %v, want InvalidMessage", src, err)
		}
	}
}

// A line is bounded before its end has come, and gets the same answer however it was split.
func TestLineLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		src  string
		o    DecodeOptions
		ok   bool
	}{
		{"frame of max frame", strings.Repeat("x", 98) + "\r\n", DecodeOptions{MaxFrame: 100}, true},
		{"frame over max frame", strings.Repeat("x", 99) + "\r\n", DecodeOptions{MaxFrame: 100}, false},
		{"no end at max frame", strings.Repeat("x", 100), DecodeOptions{MaxFrame: 100}, false},
		{"body of max body", "@bob /1:7 " + strings.Repeat("x", 100) + "\n", DecodeOptions{MaxBody: 100}, true},
		{"body over max body", "@bob /1:7 " + strings.Repeat("x", 101) + "\n", DecodeOptions{MaxBody: 100}, false},
		{"no end at max body and room", strings.Repeat("x", 100+lineRoom), DecodeOptions{MaxBody: 100}, false},
		{"the largest line for a body", "@" + strings.Repeat(`\x61`, 255) + " /0xFEFF:4294967295 " +
			strings.Repeat("x", 100) + "\r\n", DecodeOptions{MaxBody: 100}, true},
		{"no limits", strings.Repeat("x", 100000) + "\n", DecodeOptions{}, true},
		{"a body limit that is all there is", "x\n", DecodeOptions{MaxBody: int(^uint(0) >> 1)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Line.Decode(text(c.src), &Message{}, c.o)
			want := MessageTooLarge
			if c.ok {
				want = 0
			}
			if codeOf(err) != want {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// The text is a part of the source with its capacity cut off; a destination that is held already is not allocated.
func TestLineBodyAliasesSource(t *testing.T) {
	src := text("@bob /1 hello\nnext")
	dest := string([]byte("bob"))
	m := Message{DestUserID: dest}
	if _, _, err := Line.Decode(src, &m, DecodeOptions{}); err != nil {
		t.Fatal(err)
	}
	if &m.Body[0] != &src[8] || cap(m.Body) != len(m.Body) {
		t.Errorf("the body is a copy, or has the capacity %d", cap(m.Body))
	}
	if unsafe.StringData(m.DestUserID) != unsafe.StringData(dest) {
		t.Error("an equal destination was allocated again")
	}
	before := string(src)
	if _, _, err := Line.Decode(text(`/1 a\nb`+"\n"), &m, DecodeOptions{}); err != nil || string(m.Body) != "a\nb" {
		t.Errorf("with an escape: %q, %v", m.Body, err)
	}
	if string(src) != before {
		t.Error("the source was written to")
	}
}

// What a server sends, line for line.
func TestLineAppend(t *testing.T) {
	closing := func(code CloseCode, text string, kv ...string) []byte {
		e := &CloseError{Code: code, Text: text}
		if len(kv) > 0 {
			e.Info = map[string]string{kv[0]: kv[1]}
		}
		return AppendClose(nil, e)
	}
	for _, c := range []struct {
		want string
		m    Message
	}{
		{"hello", Message{Type: 1, Body: text("hello")}},
		{`C:\new #1 @ / "Grüße"`, Message{Type: 1, Body: text(`C:\new #1 @ / "Grüße"`)}},
		{"42 apples", Message{Type: 1, Body: text("42 apples")}},
		{"#hello", Message{Type: 1, Body: text("#hello")}},
		{"/1", Message{Type: 1}},
		{"/2 hello", Message{Type: 2, Body: text("hello")}},
		{"/1:7 hello", Message{Type: 1, ID: 7, Body: text("hello")}},
		{"/1:7 42", Message{Type: 1, ID: 7, Body: text("42")}},
		{"/1 @home", Message{Type: 1, Body: text("@home")}},
		{"/1 /2", Message{Type: 1, Body: text("/2")}},
		{"/1 <b>", Message{Type: 1, Body: text("<b>")}},
		{"/1 = 4", Message{Type: 1, Body: text("= 4")}},
		{"/1 ! now", Message{Type: 1, Body: text("! now")}},
		{"/1 * close 2000 PushedOut", Message{Type: 1, Body: text("* close 2000 PushedOut")}},
		{`/1 two\nlines, C:\\new`, Message{Type: 1, Body: text("two\nlines, C:\\new")}},
		{`/1 \xff`, Message{Type: 1, Body: text("\xff")}},
		{"<alice> hello", Message{Type: 1, UserID: "alice", Body: text("hello")}},
		{"<alice> @bob hello", Message{Type: 1, UserID: "alice", DestUserID: "bob", Body: text("hello")}},
		{"<alice> /1 @bob", Message{Type: 1, UserID: "alice", Body: text("@bob")}},
		{`<a\sb> @c\\d x`, Message{Type: 1, UserID: "a b", DestUserID: `c\d`, Body: text("x")}},
		{"= sent", Message{Type: 1, Flags: FlagReply, Body: text("sent")}},
		{"= /1:7 sent", Message{Type: 1, Flags: FlagReply, ID: 7, Body: text("sent")}},
		{"= /1:7", Message{Type: 1, Flags: FlagReply, ID: 7}},
		{"= <bob> /1:7 yes", Message{Type: 1, Flags: FlagReply, ID: 7, UserID: "bob", Body: text("yes")}},
		{"! /1:7 5000 UserOffline bob is not here",
			Message{Type: 1, Flags: FlagReply | FlagError, ID: 7, Body: closing(UserOffline, "bob is not here")}},
		{"! /1 5999 -", Message{Type: 1, Flags: FlagReply | FlagError, Body: closing(5999, "")}},
		{"! /1:7 5003 Refused slowly\tretry-ms=250",
			Message{Type: 1, Flags: FlagReply | FlagError, ID: 7, Body: closing(Refused, "slowly", "retry-ms", "250")}},
		{"* welcome", Message{Type: TypeLogon, Flags: FlagReply, ID: 1, Body: text("\x00\x00")}},
		{"* welcome\theartbeat-ms=10000", Message{Type: TypeLogon, Flags: FlagReply, ID: 1, // the session's ID is a secret
			Body: text("\x00\x00\x02\x07session\x00\x040197\x0cheartbeat-ms\x00\x0510000")}},
		{"* welcome\theartbeat-ms=10000\tsession=0197", Message{Type: TypeLogon, Flags: FlagReply, ID: 2, // which this client asked for
			Body: text("\x00\x00\x02\x07session\x00\x040197\x0cheartbeat-ms\x00\x0510000")}},
		{"* refused 2003 Unauthorized bad token",
			Message{Type: TypeLogon, Flags: FlagReply | FlagError, ID: 1, Body: closing(Unauthorized, "bad token")}},
		{"* close 2000 PushedOut", Message{Type: TypeClose, Body: closing(PushedOut, "")}},
		{"* close 4001 - go away", Message{Type: TypeClose, Body: closing(4001, "go away")}},
		{"* close 1004 ServerStopping bye\tretry-ms=5000",
			Message{Type: TypeClose, Body: closing(ServerStopping, "bye", "retry-ms", "5000")}},
		{"* heartbeat 5", Message{Type: TypeHeartbeat, Flags: FlagReply, ID: 5}},
		{"", Message{Type: TypeHeartbeat}},
		{"/0xFF00:5", Message{Type: TypeHeartbeat, ID: 5}},
		{"/0xFF03 x", Message{Type: 0xFF03, Body: text("x")}},
		{"alice\ttoken=secret", Message{Type: TypeLogon, ID: 1, UserID: "alice", Body: text("\x01\x05token\x00\x06secret")}},
		{`a\sb` + "\t" + `k\x3d=a\tb=c`, Message{Type: TypeLogon, UserID: "a b", Body: text("\x01\x02k=\x00\x05a\tb=c")}},
	} {
		t.Run(c.want, func(t *testing.T) {
			got, err := Line.Append([]byte("before"), &c.m)
			if err != nil || string(got) != "before"+c.want+"\n" {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// A message is one line whatever is in it: a body, an ID, a text or a field cannot forge another line, nor drive the
// terminal.
func TestLineCannotBeForged(t *testing.T) {
	evil := "x\n* close 2000 PushedOut\r\n\x1b[2J\x00\x07\x7f\u0085\u009b\u2028\u2029\xff\\"
	clean := strings.ToValidUTF8(evil, "?")
	id := "> /1 x\u2028y <b"
	info := map[string]string{"k\n=\t": clean}
	logonReply, err := AppendLogonReply(nil, info)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]Message{
		"body":          {Type: 1, Body: text(evil)},
		"sender":        {Type: 1, UserID: id, DestUserID: id, Body: text("x")},
		"reply":         {Type: 1, Flags: FlagReply, ID: 1, Body: text(evil)},
		"error reply":   {Type: 1, Flags: FlagReply | FlagError, Body: AppendClose(nil, &CloseError{Text: clean, Info: info})},
		"close":         {Type: TypeClose, Body: AppendClose(nil, &CloseError{Text: clean, Info: info})},
		"refused logon": {Type: TypeLogon, Flags: FlagReply | FlagError, Body: AppendClose(nil, &CloseError{Text: clean})},
		"welcome":       {Type: TypeLogon, Flags: FlagReply, Body: logonReply},
		"logon":         {Type: TypeLogon, UserID: id, Body: logonReply[2:]},
		"system type":   {Type: 0xFFFF, Body: text(evil)},
	} {
		t.Run(name, func(t *testing.T) {
			line, err := Line.Append(nil, &m)
			if err != nil {
				t.Fatal(err)
			}
			checkOneLine(t, line)
		})
	}
	line, _ := Line.Append(nil, &Message{Type: 1, UserID: id, Body: text("x")})
	if word, rest, _ := strings.Cut(string(line), " "); !strings.HasSuffix(word, ">") || rest != "x\n" {
		t.Errorf("the sender is more than a word: %q", line)
	}
}

func checkOneLine(t *testing.T, line []byte) {
	t.Helper()
	s, ok := strings.CutSuffix(string(line), "\n")
	if !ok || !utf8.ValidString(s) {
		t.Fatalf("not a line of text: %q", line)
	}
	for _, r := range s {
		if r != '\t' && unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			t.Fatalf("%U in %q", r, line)
		}
	}
}

// A system message or an error reply whose body is not one cannot be written as words.
func TestLineAppendRefusesBrokenBodies(t *testing.T) {
	for name, m := range map[string]Message{
		"close":         {Type: TypeClose, Body: text("x")},
		"error reply":   {Type: 1, Flags: FlagReply | FlagError},
		"refused logon": {Type: TypeLogon, Flags: FlagReply | FlagError},
		"logon reply":   {Type: TypeLogon, Flags: FlagReply},
		"logon":         {Type: TypeLogon, UserID: "alice", Body: text("x")},
	} {
		if got, err := Line.Append([]byte("before"), &m); err == nil || string(got) != "before" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// What Line has decoded it writes so that it decodes to the same again.
func TestLineRoundTrip(t *testing.T) {
	for _, c := range lineCases {
		if c.want.Type == TypeClose {
			continue // written as the server's notice
		}
		checkLineRoundTrip(t, &c.want, false)
	}
}

func checkLineRoundTrip(t *testing.T, m *Message, first bool) {
	t.Helper()
	line, err := Line.Append(nil, m)
	if err != nil {
		t.Fatalf("Append of %+v: %v", m, err)
	}
	checkOneLine(t, line)
	var again Message
	if n, _, err := Line.Decode(line, &again, DecodeOptions{First: first}); n != len(line) || err != nil {
		t.Fatalf("Decode of %q = %d, %v", line, n, err)
	}
	if !sameMessage(m, &again) {
		t.Fatalf("%+v became %+v by the line %q", m, again, line)
	}
}

// sameMessage is DeepEqual but for nil and empty bodies.
func sameMessage(a, b *Message) bool {
	x, y := *a, *b
	x.Body, y.Body = nil, nil
	return reflect.DeepEqual(x, y) && string(a.Body) == string(b.Body)
}
