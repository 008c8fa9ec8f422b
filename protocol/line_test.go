package protocol_test

import (
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// What a person writes after the first line.
var lineCases = []struct {
	line string
	want protocol.Message
}{
	{"", protocol.Message{Type: protocol.TypeHeartbeat}},
	{"hello there", protocol.Message{Type: 1, Body: text("hello there")}},
	{"7 apples", protocol.Message{Type: 1, Body: text("7 apples")}},
	{" ", protocol.Message{Type: 1, Body: text(" ")}},
	{" /1 x", protocol.Message{Type: 1, Body: text(" /1 x")}},
	{"Latin-1 \xe9", protocol.Message{Type: 1, Body: text("Latin-1 \xe9")}},
	{"/1 hello", protocol.Message{Type: 1, Body: text("hello")}},
	{"/1", protocol.Message{Type: 1}},
	{"/1 ", protocol.Message{Type: 1}},
	{"/1  hello ", protocol.Message{Type: 1, Body: text(" hello ")}},
	{"/65279 x", protocol.Message{Type: 0xFEFF, Body: text("x")}},
	{"/0x1F hello", protocol.Message{Type: 0x1F, Body: text("hello")}},
	{"/0XfeFF hello", protocol.Message{Type: 0xFEFF, Body: text("hello")}},
	{"/010 decimal", protocol.Message{Type: 10, Body: text("decimal")}},
	{"/1:7 hello", protocol.Message{Type: 1, ID: 7, Body: text("hello")}},
	{"/1:7", protocol.Message{Type: 1, ID: 7}},
	{"/1:4294967295 x", protocol.Message{Type: 1, ID: 1<<32 - 1, Body: text("x")}},
	{"/1 1234 apples", protocol.Message{Type: 1, Body: text("1234 apples")}},
	{"/1 /2 x", protocol.Message{Type: 1, Body: text("/2 x")}},
	{"/0xFF00:5", protocol.Message{Type: protocol.TypeHeartbeat, ID: 5}},
	{"/0xFF02", protocol.Message{Type: protocol.TypeClose, Body: text("\x03\xe8\x00\x00")}},
	{"/0xFF02 bye", protocol.Message{Type: protocol.TypeClose, Body: text("\x03\xe8\x00\x03bye")}},
	{"@bob hello", protocol.Message{Type: 1, DestUserID: "bob", Body: text("hello")}},
	{"@bob", protocol.Message{Type: 1, DestUserID: "bob"}},
	{"@bob @carol", protocol.Message{Type: 1, DestUserID: "bob", Body: text("@carol")}},
	{"@bob /1 hello", protocol.Message{Type: 1, DestUserID: "bob", Body: text("hello")}},
	{"@bob /0x10:7 hello", protocol.Message{Type: 16, ID: 7, DestUserID: "bob", Body: text("hello")}},
	{"@_0 /2:7 ping", protocol.Message{Type: 2, ID: 7, DestUserID: "_0", Body: text("ping")}},
	{`@bob\sthe\sbuilder x`, protocol.Message{Type: 1, DestUserID: "bob the builder", Body: text("x")}},
	{"@Zoë Grüße", protocol.Message{Type: 1, DestUserID: "Zoë", Body: text("Grüße")}},
	// Behind a type there are escapes; without one a text is what was typed.
	{`/1 a\\b\nc\rd\te\sf\x00\xFF`, protocol.Message{Type: 1, Body: text("a\\b\nc\rd\te f\x00\xff")}},
	{`/1 C:\dir \xg0 \x1`, protocol.Message{Type: 1, Body: text(`C:\dir \xg0 \x1`)}},
	{`/1 end\`, protocol.Message{Type: 1, Body: text(`end\`)}},
	{`C:\new\table \\ \x41`, protocol.Message{Type: 1, Body: text(`C:\new\table \\ \x41`)}},
	{`@bob C:\new`, protocol.Message{Type: 1, DestUserID: "bob", Body: text(`C:\new`)}},
	// What looks like something else and is not is a text, whole.
	{"#hello", protocol.Message{Type: 1, Body: text("#hello")}},
	{"# hello", protocol.Message{Type: 1, Body: text("# hello")}},
	{"#1 1234 apples", protocol.Message{Type: 1, Body: text("#1 1234 apples")}},
	{"<b> = ! *", protocol.Message{Type: 1, Body: text("<b> = ! *")}},
	{"= 4", protocol.Message{Type: 1, Body: text("= 4")}},
	{"! now", protocol.Message{Type: 1, Body: text("! now")}},
	{"* a star", protocol.Message{Type: 1, Body: text("* a star")}},
	{"/", protocol.Message{Type: 1, Body: text("/")}},
	{"/ 1", protocol.Message{Type: 1, Body: text("/ 1")}},
	{"/quit", protocol.Message{Type: 1, Body: text("/quit")}},
	{"/etc/passwd", protocol.Message{Type: 1, Body: text("/etc/passwd")}},
	{"/1st of May", protocol.Message{Type: 1, Body: text("/1st of May")}},
	{"/0 x", protocol.Message{Type: 1, Body: text("/0 x")}},
	{"/0x0 x", protocol.Message{Type: 1, Body: text("/0x0 x")}},
	{"/0x x", protocol.Message{Type: 1, Body: text("/0x x")}},
	{"/65536 x", protocol.Message{Type: 1, Body: text("/65536 x")}},
	{"/-1 x", protocol.Message{Type: 1, Body: text("/-1 x")}},
	{"/+1 x", protocol.Message{Type: 1, Body: text("/+1 x")}},
	{"/1_0 x", protocol.Message{Type: 1, Body: text("/1_0 x")}},
	{"/1: x", protocol.Message{Type: 1, Body: text("/1: x")}},
	{"/1:4294967296 x", protocol.Message{Type: 1, Body: text("/1:4294967296 x")}},
	{"/1\thello", protocol.Message{Type: 1, Body: text("/1\thello")}},
	{"@ home", protocol.Message{Type: 1, Body: text("@ home")}},
	{"@", protocol.Message{Type: 1, Body: text("@")}},
	{"@b\xff x", protocol.Message{Type: 1, Body: text("@b\xff x")}},
	{`@b\n x`, protocol.Message{Type: 1, Body: text(`@b\n x`)}},
	{"@" + strings.Repeat("x", 256) + " x", protocol.Message{Type: 1, Body: text("@" + strings.Repeat("x", 256) + " x")}},
	{"@bob /quit", protocol.Message{Type: 1, DestUserID: "bob", Body: text("/quit")}},
}

// One line is one message, ended by \n or \r\n, and nothing is taken before its end.
func TestLineDecode(t *testing.T) {
	for _, c := range lineCases {
		for _, ending := range []string{"\n", "\r\n"} {
			t.Run(c.line+ending, func(t *testing.T) {
				src := text(c.line + ending + "next")
				n := len(c.line + ending)
				var m protocol.Message
				for i := range n {
					if took, need, err := protocol.Line.Decode(src[:i], &m, protocol.DecodeOptions{Seen: i / 2}); took != 0 || need != i+1 || err != nil {
						t.Fatalf("of %d of %d bytes: %d, %d, %v", i, n, took, need, err)
					}
				}
				if took, _, err := protocol.Line.Decode(src, &m, protocol.DecodeOptions{MaxBody: 300, MaxFrame: 400, Seen: n - 1}); took != n || err != nil {
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
			var m protocol.Message
			for i := range src {
				if took, need, err := protocol.Line.Decode(src[:i], &m, protocol.DecodeOptions{First: true}); took != 0 || need != i+1 || err != nil {
					t.Fatalf("of %d bytes: %d, %d, %v", i, took, need, err)
				}
			}
			if took, _, err := protocol.Line.Decode(src, &m, protocol.DecodeOptions{First: true}); took != len(src) || err != nil {
				t.Fatalf("Decode = %d, %v", took, err)
			}
			if m.Type != protocol.TypeLogon || m.UserID != c.user || m.ID == 0 || m.Flags != 0 || m.DestUserID != "" {
				t.Errorf("got %+v, want a Logon of %q that is answered", m, c.user)
			}
			fields, err := system.ParseStringMap(m.Body)
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
			m := protocol.Message{DestUserID: "kept"}
			_, _, err := protocol.Line.Decode(text(c.line+"\n"), &m, protocol.DecodeOptions{First: c.first})
			if codeOf(err) != protocol.InvalidMessage || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want InvalidMessage with %q", err, c.text)
			}
			if !reflect.DeepEqual(m, protocol.Message{DestUserID: "kept"}) {
				t.Errorf("the message became %+v", m)
			}
		})
	}
}

// A first line's user ID is judged before the line's end has come: a binary client's frame, for instance, is refused
// by its first bytes.
func TestLineFirstIsJudgedAtOnce(t *testing.T) {
	frame := string(raw(0x52, 0, protocol.TypeLogon, 1, 0, "alice", "", nil))
	for _, src := range []string{frame[:2], "b\xff", "b\xc3\t", "GET ", "#", "*", strings.Repeat("x", 4*protocol.MaxUserID+1)} {
		if _, _, err := protocol.Line.Decode(text(src), &protocol.Message{}, protocol.DecodeOptions{First: true}); codeOf(err) != protocol.InvalidMessage {
			t.Errorf("of %q: %v, want InvalidMessage", src, err)
		}
	}
}

// A line is bounded before its end has come, and gets the same answer however it was split.
func TestLineLimits(t *testing.T) {
	for _, c := range []struct {
		name string
		src  string
		o    protocol.DecodeOptions
		ok   bool
	}{
		{"frame of max frame", strings.Repeat("x", 98) + "\r\n", protocol.DecodeOptions{MaxFrame: 100}, true},
		{"frame over max frame", strings.Repeat("x", 99) + "\r\n", protocol.DecodeOptions{MaxFrame: 100}, false},
		{"no end at max frame", strings.Repeat("x", 100), protocol.DecodeOptions{MaxFrame: 100}, false},
		{"body of max body", "@bob /1:7 " + strings.Repeat("x", 100) + "\n", protocol.DecodeOptions{MaxBody: 100}, true},
		{"body over max body", "@bob /1:7 " + strings.Repeat("x", 101) + "\n", protocol.DecodeOptions{MaxBody: 100}, false},
		{"no end at max body and room", strings.Repeat("x", 100+protocol.LineRoom), protocol.DecodeOptions{MaxBody: 100}, false},
		{"the largest line for a body", "@" + strings.Repeat(`\x61`, 255) + " /0xFEFF:4294967295 " +
			strings.Repeat("x", 100) + "\r\n", protocol.DecodeOptions{MaxBody: 100}, true},
		{"no limits", strings.Repeat("x", 100000) + "\n", protocol.DecodeOptions{}, true},
		{"a body limit that is all there is", "x\n", protocol.DecodeOptions{MaxBody: int(^uint(0) >> 1)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := protocol.Line.Decode(text(c.src), &protocol.Message{}, c.o)
			want := protocol.MessageTooLarge
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
	m := protocol.Message{DestUserID: dest}
	if _, _, err := protocol.Line.Decode(src, &m, protocol.DecodeOptions{}); err != nil {
		t.Fatal(err)
	}
	if &m.Body[0] != &src[8] || cap(m.Body) != len(m.Body) {
		t.Errorf("the body is a copy, or has the capacity %d", cap(m.Body))
	}
	if unsafe.StringData(m.DestUserID) != unsafe.StringData(dest) {
		t.Error("an equal destination was allocated again")
	}
	before := string(src)
	if _, _, err := protocol.Line.Decode(text(`/1 a\nb`+"\n"), &m, protocol.DecodeOptions{}); err != nil || string(m.Body) != "a\nb" {
		t.Errorf("with an escape: %q, %v", m.Body, err)
	}
	if string(src) != before {
		t.Error("the source was written to")
	}
}

// What a server sends, line for line.
func TestLineAppend(t *testing.T) {
	closing := func(code protocol.CloseCode, text string, kv ...string) []byte {
		e := &protocol.CloseError{Code: code, Text: text}
		if len(kv) > 0 {
			e.Info = map[string]string{kv[0]: kv[1]}
		}
		return system.AppendClose(nil, e)
	}
	for _, c := range []struct {
		want string
		m    protocol.Message
	}{
		{"hello", protocol.Message{Type: 1, Body: text("hello")}},
		{`C:\new #1 @ / "Grüße"`, protocol.Message{Type: 1, Body: text(`C:\new #1 @ / "Grüße"`)}},
		{"42 apples", protocol.Message{Type: 1, Body: text("42 apples")}},
		{"#hello", protocol.Message{Type: 1, Body: text("#hello")}},
		{"/1", protocol.Message{Type: 1}},
		{"/2 hello", protocol.Message{Type: 2, Body: text("hello")}},
		{"/1:7 hello", protocol.Message{Type: 1, ID: 7, Body: text("hello")}},
		{"/1:7 42", protocol.Message{Type: 1, ID: 7, Body: text("42")}},
		{"/1 @home", protocol.Message{Type: 1, Body: text("@home")}},
		{"/1 /2", protocol.Message{Type: 1, Body: text("/2")}},
		{"/1 <b>", protocol.Message{Type: 1, Body: text("<b>")}},
		{"/1 = 4", protocol.Message{Type: 1, Body: text("= 4")}},
		{"/1 ! now", protocol.Message{Type: 1, Body: text("! now")}},
		{"/1 * close 2000 PushedOut", protocol.Message{Type: 1, Body: text("* close 2000 PushedOut")}},
		{`/1 two\nlines, C:\\new`, protocol.Message{Type: 1, Body: text("two\nlines, C:\\new")}},
		{`/1 \xff`, protocol.Message{Type: 1, Body: text("\xff")}},
		{"<alice> hello", protocol.Message{Type: 1, UserID: "alice", Body: text("hello")}},
		{"<alice> @bob hello", protocol.Message{Type: 1, UserID: "alice", DestUserID: "bob", Body: text("hello")}},
		{"<alice> /1 @bob", protocol.Message{Type: 1, UserID: "alice", Body: text("@bob")}},
		{`<a\sb> @c\\d x`, protocol.Message{Type: 1, UserID: "a b", DestUserID: `c\d`, Body: text("x")}},
		{"= sent", protocol.Message{Type: 1, Flags: protocol.FlagReply, Body: text("sent")}},
		{"= /1:7 sent", protocol.Message{Type: 1, Flags: protocol.FlagReply, ID: 7, Body: text("sent")}},
		{"= /1:7", protocol.Message{Type: 1, Flags: protocol.FlagReply, ID: 7}},
		{"= <bob> /1:7 yes", protocol.Message{Type: 1, Flags: protocol.FlagReply, ID: 7, UserID: "bob", Body: text("yes")}},
		{"! /1:7 5000 UserOffline bob is not here",
			protocol.Message{Type: 1, Flags: protocol.FlagReply | protocol.FlagError, ID: 7, Body: closing(protocol.UserOffline, "bob is not here")}},
		{"! /1 5999 -", protocol.Message{Type: 1, Flags: protocol.FlagReply | protocol.FlagError, Body: closing(5999, "")}},
		{"! /1:7 5003 Refused slowly\tretry-ms=250",
			protocol.Message{Type: 1, Flags: protocol.FlagReply | protocol.FlagError, ID: 7, Body: closing(protocol.Refused, "slowly", "retry-ms", "250")}},
		{"* welcome", protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: 1, Body: text("\x00\x00")}},
		{"* welcome\theartbeat-ms=10000", protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: 1, // the session's ID is a secret
			Body: text("\x00\x00\x02\x07session\x00\x040197\x0cheartbeat-ms\x00\x0510000")}},
		{"* welcome\theartbeat-ms=10000\tsession=0197", protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: 2, // which this client asked for
			Body: text("\x00\x00\x02\x07session\x00\x040197\x0cheartbeat-ms\x00\x0510000")}},
		{"* refused 2003 Unauthorized bad token",
			protocol.Message{Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, ID: 1, Body: closing(protocol.Unauthorized, "bad token")}},
		{"* close 2000 PushedOut", protocol.Message{Type: protocol.TypeClose, Body: closing(protocol.PushedOut, "")}},
		{"* close 4001 - go away", protocol.Message{Type: protocol.TypeClose, Body: closing(4001, "go away")}},
		{"* close 1004 ServerStopping bye\tretry-ms=5000",
			protocol.Message{Type: protocol.TypeClose, Body: closing(protocol.ServerStopping, "bye", "retry-ms", "5000")}},
		{"* heartbeat 5", protocol.Message{Type: protocol.TypeHeartbeat, Flags: protocol.FlagReply, ID: 5}},
		{"", protocol.Message{Type: protocol.TypeHeartbeat}},
		{"/0xFF00:5", protocol.Message{Type: protocol.TypeHeartbeat, ID: 5}},
		{"/0xFF03 x", protocol.Message{Type: 0xFF03, Body: text("x")}},
		{"alice\ttoken=secret", protocol.Message{Type: protocol.TypeLogon, ID: 1, UserID: "alice", Body: text("\x01\x05token\x00\x06secret")}},
		{`a\sb` + "\t" + `k\x3d=a\tb=c`, protocol.Message{Type: protocol.TypeLogon, UserID: "a b", Body: text("\x01\x02k=\x00\x05a\tb=c")}},
	} {
		t.Run(c.want, func(t *testing.T) {
			got, err := protocol.Line.Append([]byte("before"), &c.m)
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
	logonReply, err := system.AppendLogonReply(nil, info)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]protocol.Message{
		"body":          {Type: 1, Body: text(evil)},
		"sender":        {Type: 1, UserID: id, DestUserID: id, Body: text("x")},
		"reply":         {Type: 1, Flags: protocol.FlagReply, ID: 1, Body: text(evil)},
		"error reply":   {Type: 1, Flags: protocol.FlagReply | protocol.FlagError, Body: system.AppendClose(nil, &protocol.CloseError{Text: clean, Info: info})},
		"close":         {Type: protocol.TypeClose, Body: system.AppendClose(nil, &protocol.CloseError{Text: clean, Info: info})},
		"refused logon": {Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError, Body: system.AppendClose(nil, &protocol.CloseError{Text: clean})},
		"welcome":       {Type: protocol.TypeLogon, Flags: protocol.FlagReply, Body: logonReply},
		"logon":         {Type: protocol.TypeLogon, UserID: id, Body: logonReply[2:]},
		"system type":   {Type: 0xFFFF, Body: text(evil)},
	} {
		t.Run(name, func(t *testing.T) {
			line, err := protocol.Line.Append(nil, &m)
			if err != nil {
				t.Fatal(err)
			}
			checkOneLine(t, line)
		})
	}
	line, _ := protocol.Line.Append(nil, &protocol.Message{Type: 1, UserID: id, Body: text("x")})
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
	for name, m := range map[string]protocol.Message{
		"close":         {Type: protocol.TypeClose, Body: text("x")},
		"error reply":   {Type: 1, Flags: protocol.FlagReply | protocol.FlagError},
		"refused logon": {Type: protocol.TypeLogon, Flags: protocol.FlagReply | protocol.FlagError},
		"logon reply":   {Type: protocol.TypeLogon, Flags: protocol.FlagReply},
		"logon":         {Type: protocol.TypeLogon, UserID: "alice", Body: text("x")},
	} {
		if got, err := protocol.Line.Append([]byte("before"), &m); err == nil || string(got) != "before" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// What Line has decoded it writes so that it decodes to the same again.
func TestLineRoundTrip(t *testing.T) {
	for _, c := range lineCases {
		if c.want.Type == protocol.TypeClose {
			continue // written as the server's notice
		}
		checkLineRoundTrip(t, &c.want, false)
	}
}

func checkLineRoundTrip(t *testing.T, m *protocol.Message, first bool) {
	t.Helper()
	line, err := protocol.Line.Append(nil, m)
	if err != nil {
		t.Fatalf("Append of %+v: %v", m, err)
	}
	checkOneLine(t, line)
	var again protocol.Message
	if n, _, err := protocol.Line.Decode(line, &again, protocol.DecodeOptions{First: first}); n != len(line) || err != nil {
		t.Fatalf("Decode of %q = %d, %v", line, n, err)
	}
	if !sameMessage(m, &again) {
		t.Fatalf("%+v became %+v by the line %q", m, again, line)
	}
}

// sameMessage is DeepEqual but for nil and empty bodies.
func sameMessage(a, b *protocol.Message) bool {
	x, y := *a, *b
	x.Body, y.Body = nil, nil
	return reflect.DeepEqual(x, y) && string(a.Body) == string(b.Body)
}
