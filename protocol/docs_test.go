package protocol_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

const (
	docFile  = "../docs/protocol.md"
	chatFile = "../docs/chat.md"
)

// fence is a fenced block of docs/protocol.md or docs/chat.md.
type fence struct {
	line  int // of its first line
	info  []string
	lines []string
}

func fences(t *testing.T, kind, file string) []fence {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []fence
	var open *fence
	for i, l := range strings.Split(string(text), "\n") {
		info, mark := strings.CutPrefix(l, "```")
		switch {
		case mark && open == nil:
			open = &fence{line: i + 2, info: strings.Fields(info)}
		case mark:
			if len(open.info) > 0 && open.info[0] == kind {
				all = append(all, *open)
			}
			open = nil
		case open != nil:
			open.lines = append(open.lines, l)
		}
	}
	if open != nil || len(all) < 2 {
		t.Fatalf("%d blocks of kind %s in %s, and one unclosed: %v", len(all), kind, file, open != nil)
	}
	return all
}

// Every frame in the documents decodes to what they say, and is what this package writes. In a block "frame"
// there is hex, '#' begins a comment, and "=> " says what the hex above it is.
func TestDocumentedFrames(t *testing.T) {
	for _, f := range append(fences(t, "frame", docFile), fences(t, "frame", chatFile)...) {
		var o protocol.DecodeOptions
		for _, word := range f.info[1:] {
			n, err := strconv.Atoi(strings.TrimPrefix(word, "max-body="))
			if err != nil {
				t.Fatalf("line %d: %v", f.line, err)
			}
			o.MaxBody = n
		}
		var digits string
		var m protocol.Message // one for all, as a connection has it
		for i, l := range f.lines {
			want, ok := strings.CutPrefix(l, "=> ")
			if !ok {
				l, _, _ = strings.Cut(l, "#")
				digits += l
				continue
			}
			frame := bytesOf(t, digits)
			digits = ""
			n, _, err := protocol.Binary.Decode(frame, &m, o)
			if err == nil && n != len(frame) {
				t.Errorf("line %d: %d bytes of %d make the frame", f.line+i, n, len(frame))
			}
			if got := describe(&m, err); got != want {
				t.Errorf("line %d: the frame is\n%s, not\n%s", f.line+i, got, want)
			}
			if again, _ := protocol.Binary.Append(nil, &m); err == nil && string(again) != string(frame) {
				t.Errorf("line %d: it would be written as %x", f.line+i, again)
			}
		}
		if digits != "" {
			t.Errorf("line %d: nothing says what the last hex is", f.line)
		}
	}
}

// Every line in the document is read, or written, as the document says.
func TestDocumentedLines(t *testing.T) {
	written := make(map[string]bool) // what the server sends, and whether the document has it
	for _, m := range documentedMessages(t) {
		l, err := protocol.Line.Append(nil, &m)
		if err != nil {
			t.Fatal(err)
		}
		written[strings.TrimSuffix(string(l), "\n")] = false
	}
	for _, f := range fences(t, "line", docFile) {
		first := len(f.info) > 1 && f.info[1] == "first"
		var m protocol.Message
		var err error
		for i, l := range f.lines {
			l = strings.ReplaceAll(l, "<TAB>", "\t")
			if src, ok := strings.CutPrefix(l, "C:"); ok {
				src = strings.TrimPrefix(src, " ")
				var n int
				if n, _, err = protocol.Line.Decode([]byte(src+"\n"), &m, protocol.DecodeOptions{First: first}); err == nil && n != len(src)+1 {
					t.Errorf("line %d: %d bytes of %d", f.line+i, n, len(src)+1)
				}
			} else if want, ok := strings.CutPrefix(l, "=> "); ok {
				if got := describe(&m, err); got != want {
					t.Errorf("line %d: the line is\n%s, not\n%s", f.line+i, got, want)
				}
			} else if src, ok := strings.CutPrefix(l, "S: "); ok {
				if _, ok := written[src]; !ok {
					t.Errorf("line %d: no message of documentedMessages is written as %q", f.line+i, src)
				}
				written[src] = true
			} else {
				t.Errorf("line %d: %q is neither C:, S: nor =>", f.line+i, l)
			}
		}
	}
	for l, there := range written {
		if !there {
			t.Errorf("the document does not have %q", l)
		}
	}
}

// documentedMessages are those that the document shows as the server's lines.
func documentedMessages(t *testing.T) []protocol.Message {
	t.Helper()
	failed := protocol.FlagReply | protocol.FlagError
	welcome, err := system.AppendLogonReply(nil, map[string]string{protocol.FieldSession: "0197abcd", protocol.FieldHeartbeatMS: "10000"})
	if err != nil {
		t.Fatal(err)
	}
	reason := func(code protocol.CloseCode, text string) []byte {
		return system.AppendClose(nil, &protocol.CloseError{Code: code, Text: text})
	}
	return []protocol.Message{
		{Type: 1, Body: []byte("news")},
		{Type: 2, Body: []byte("news")},
		{Type: 1, Body: []byte("@ home")},
		{Type: 1, UserID: "alice", Body: []byte("two\nlines")},
		{Type: 1, UserID: "alice", Body: []byte("hello")},
		{Type: 1, UserID: "alice", DestUserID: "bob", Body: []byte("hello")},
		{Type: 1, Flags: protocol.FlagReply, ID: 7, Body: []byte("sent")},
		{Type: 1, Flags: protocol.FlagReply, ID: 7, Body: []byte("42")},
		{Type: 1, Flags: failed, ID: 7, Body: reason(protocol.UserOffline, "bob is offline")},
		{Type: 1, Flags: failed, ID: 7, Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.Refused, Text: "not so fast",
			Info: map[string]string{protocol.FieldRetryMS: "250"}})},
		{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: 1, Body: welcome},
		{Type: protocol.TypeLogon, Flags: protocol.FlagReply, ID: 2, Body: welcome},
		{Type: protocol.TypeLogon, Flags: failed, ID: 1, Body: reason(protocol.Unauthorized, "bad token")},
		{Type: protocol.TypeClose, Body: reason(protocol.PushedOut, "")},
		{Type: protocol.TypeClose, Body: system.AppendClose(nil, &protocol.CloseError{Code: protocol.ServerStopping, Text: "stopping",
			Info: map[string]string{protocol.FieldRetryMS: "5000"}})},
		{Type: protocol.TypeHeartbeat, Flags: protocol.FlagReply, ID: 5},
	}
}

// The documents' tables of codes are this package's: docs/protocol.md has all, docs/chat.md those of chat.
func TestDocumentedCodes(t *testing.T) {
	chat := maps.Clone(protocol.CloseCodeNames)
	maps.DeleteFunc(chat, func(c protocol.CloseCode, _ string) bool { return c < protocol.NoSuchGroup })
	for file, want := range map[string]map[protocol.CloseCode]string{docFile: protocol.CloseCodeNames, chatFile: chat} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[protocol.CloseCode]string)
		for _, row := range regexp.MustCompile(`(?m)^\| (\d{4}) \| (\w+) \|`).FindAllStringSubmatch(string(text), -1) {
			n, _ := strconv.Atoi(row[1])
			got[protocol.CloseCode(n)] = row[2]
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s has %v, want %v", file, got, want)
		}
	}
}

// The documents' tables of operations are this package's.
func TestDocumentedOperations(t *testing.T) {
	text, err := os.ReadFile(chatFile)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (\w+) \| (?:client|server) \|`).FindAllStringSubmatch(string(text), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	var want []string
	for _, typ := range []uint16{protocol.TypePresence, protocol.TypeContacts, protocol.TypeGroup, protocol.TypeChat} {
		for i, name := range operationNames[typ] {
			want = append(want, fmt.Sprint(i+1, " ", name))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the document has the operations\n%q, want\n%q", got, want)
	}
}

// describe says what a decoder made of bytes, in the document's words.
func describe(m *protocol.Message, err error) string {
	if err != nil {
		return fmt.Sprintf("refused: %d %v", codeOf(err), codeOf(err))
	}
	names := map[uint16]string{protocol.TypeHeartbeat: "Heartbeat", protocol.TypeLogon: "Logon", protocol.TypeClose: "Close", protocol.TypePush: "Push", protocol.TypePushAck: "PushAck",
		protocol.TypeWhoIsOnline: "WhoIsOnline", protocol.TypeRenew: "Renew", protocol.TypePresence: "Presence",
		protocol.TypeContacts: "Contacts", protocol.TypeGroup: "Group", protocol.TypeChat: "Chat"}
	s := names[m.Type]
	if s == "" {
		s = fmt.Sprintf("type %d", m.Type)
	}
	failed := m.Flags&protocol.FlagError != 0
	if m.IsReply() {
		s += ", reply"
	}
	if failed {
		s += ", error"
	}
	s += fmt.Sprintf(", id %d", m.ID)
	if m.Device != 0 {
		s += fmt.Sprintf(", device %d", m.Device)
	}
	if m.UserID != "" {
		s += fmt.Sprintf(", from %q", m.UserID)
	}
	if m.DestUserID != "" {
		s += fmt.Sprintf(", to %q", m.DestUserID)
	}
	return s + ": " + describeBody(m, failed)
}

func describeBody(m *protocol.Message, failed bool) string {
	switch {
	case failed || m.Type == protocol.TypeClose:
		e, err := protocol.ParseClose(m.Body)
		if err != nil {
			return err.Error()
		}
		s := fmt.Sprintf("%d %v %q", e.Code, e.Code, e.Text)
		if e.Info != nil {
			s += " " + describeFields(e.Info)
		}
		return s
	case (m.Type == protocol.TypeLogon || m.Type == protocol.TypeRenew) && m.IsReply():
		fields, err := protocol.ParseLogonReply(m.Body)
		if err != nil {
			return err.Error()
		}
		return "accepted " + describeFields(fields)
	case m.Type == protocol.TypeLogon || m.Type == protocol.TypeRenew:
		fields, err := system.ParseStringMap(m.Body)
		if err != nil {
			return err.Error()
		}
		return describeFields(fields)
	case m.Type == protocol.TypePush:
		return describePush(m.Body)
	case m.Type == protocol.TypePushAck:
		id, err := system.ParsePushAck(m.Body)
		if err != nil {
			return badBody(err)
		}
		return id.String()
	case m.Type == protocol.TypeWhoIsOnline:
		ids, err := system.ParseIDList(m.Body)
		if err != nil {
			return badBody(err)
		}
		return fmt.Sprintf("%q", ids)
	case operationNames[m.Type] != nil:
		return describeOperation(m)
	}
	return fmt.Sprintf("%q", m.Body)
}

func badBody(err error) string { return fmt.Sprintf("a body that is %v", codeOf(err)) }

// describePush says what a push is, but for a time that is not known, and a name that there is not.
func describePush(body []byte) string {
	p, err := protocol.ParsePush(body)
	if err != nil {
		return badBody(err)
	}
	s := fmt.Sprintf("%v %v", p.ID, p.Kind)
	if p.Name != "" {
		s += fmt.Sprintf(" %q", p.Name)
	}
	if p.Confirm {
		s += ", confirm"
	}
	if !p.Time.IsZero() {
		s += ", at " + p.Time.Format(time.RFC3339Nano)
	}
	return s + fmt.Sprintf(" %s %q", describeFields(p.Metadata), p.Content)
}

func describeFields(fields map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		pairs = append(pairs, fmt.Sprintf("%s=%q", k, fields[k]))
	}
	return "{" + strings.Join(pairs, " ") + "}"
}
