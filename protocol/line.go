package protocol

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rollcall-go/rollcall/internal/bodies"
)

// lineRoom is how much longer than the largest body a line may be: room for a destination with every byte escaped, the
// type, the message ID and the line's ending.
const lineRoom = 1100

// The message IDs of a Logon from a first line. The answer shows the session's ID only if the line has asked for it.
const (
	lineLogon       = 1
	lineLogonShowID = 2
)

// lineCodec is the type of [Line].
type lineCodec struct{}

// Line is a text format for people with telnet or nc, with one line per message: see docs/protocol.md. It is safe for any
// number of goroutines.
//
// Decode reads what a client writes. The first line is the user ID, one word, and then, if there are any, tab-separated
// key=value pairs: a Logon with message ID 1. A first line that cannot be meant as a name, such as a web browser's
// request, is an InvalidMessage. The later lines are
//
//	[@dest] text                   a message of type 1, the text as it was typed
//	[@dest] /type[:id] [text]      a message of any type; a program's form
//	                               an empty line is a Heartbeat
//
// A line that has none of these forms is a text, from its first character on: nothing that a person types is refused or
// removed. In a user ID, a field and the text behind a /type the escapes \\ \n \r \t \s (a space) and \xHH stand for a
// byte; another backslash is itself. In a line of type 0xFF02 the text is the text of a Close with ClientClosed.
//
// A line is checked when its end has come; the user ID of the first line, and the length of every line, are checked at
// once. A line, as it is written and with its ending, may have at most MaxFrame bytes, and at most 1,100 bytes more than
// MaxBody. DecodeOptions.Seen says which bytes of an unfinished line are not searched again. m.Body is a part of src with
// its capacity cut off, or new memory if the text has escapes. When Decode returns no message, m does not change.
//
// Append writes what a server sends: the same forms, behind "<sender>" if UserID is set, behind "=" if it is a reply, "!"
// if it is an error reply; and "*" with words for a Logon's reply, a Close and a Heartbeat's reply. A text that could be
// taken for something else, or has control characters, line separators or bytes that are not UTF-8, has its /type before
// it and is escaped, so that every message is one line; any other text goes out as it is. The ID of a session is a secret.
// Only a client whose first line has a field session sees it (a program that means to come back; the field is empty the
// first time). A Logon is written as a first line. Append refuses what the Append of [Binary] refuses. It also refuses a
// Close, an error reply, a Logon or the reply to a Logon if the body is not valid.
//
// People do not send heartbeats. A server ends a session that was silent for its heartbeat timeout, 30 s by default,
// and a person who only reads is silent. If people should stay, set a longer timeout (usermgr.Config.HeartbeatTimeout),
// and tell them that an empty line, the Enter key, counts as a sign of life.
var Line lineCodec

var _ Codec = Line

// Decode implements [Codec].
func (lineCodec) Decode(src []byte, m *Message, o DecodeOptions) (n, need int, err error) {
	limit := lineLimit(o)
	line := src[:min(len(src), limit)]
	seen := min(max(o.Seen, 0), len(line))
	end := bytes.IndexByte(line[seen:], '\n')
	if end >= 0 {
		end += seen
		line = line[:end]
	}
	line = bytes.TrimSuffix(line, []byte{'\r'}) // of an unfinished line this may be the first half of the ending
	if o.First {
		// Checked before the end has come, so that input that is no line at all is refused by its first bytes.
		if err := nameError(line, end >= 0); err != nil {
			return 0, 0, err
		}
	}
	if end < 0 {
		if len(src) >= limit {
			return 0, 0, tooLarge("a line of more than %d bytes", limit)
		}
		return 0, len(src) + 1, nil
	}

	var d Message
	if o.First {
		d, err = parseLogonLine(line)
	} else {
		d = parseLine(line, m.DestUserID)
	}
	if err != nil {
		return 0, 0, err
	}
	if o.MaxBody > 0 && len(d.Body) > o.MaxBody {
		return 0, 0, tooLarge("a body of %d bytes, the limit is %d", len(d.Body), o.MaxBody)
	}
	*m = d
	return end + 1, 0, nil
}

// lineLimit is the largest length of a line, with its ending.
func lineLimit(o DecodeOptions) int {
	limit := math.MaxInt
	if o.MaxFrame > 0 {
		limit = o.MaxFrame
	}
	if o.MaxBody > 0 && o.MaxBody < limit-lineRoom {
		limit = o.MaxBody + lineRoom
	}
	return limit
}

// maxLineName is the greatest length of a user ID in a line, with every byte escaped.
const maxLineName = 4 * MaxUserID

// notNames has the characters that no name in a first line begins with, because they begin lines of the server, or
// later lines of the client.
const notNames = "@/<=!*#"

// nameError returns why a first line, as far as it has come, is refused because of its name.
func nameError(line []byte, whole bool) error {
	user, _, tab := bytes.Cut(line[:min(len(line), maxLineName+1)], []byte{'\t'})
	switch {
	case whole && fromBrowser(line):
		return invalid("this is no web server")
	case len(user) > maxLineName, !validIDStart(user, tab || whole):
		return idError("the user ID in the first line,", user)
	case len(user) > 0 && strings.IndexByte(notNames, user[0]) >= 0, bytes.IndexByte(user, ' ') >= 0:
		return invalid("the first line is your name, one word, such as alice; %.20q is none", user)
	}
	return nil
}

// fromBrowser reports whether a line ends as the first one of an HTTP request does. Any web page can send one to any port.
func fromBrowser(line []byte) bool {
	n := len(line)
	return n > 0 && line[n-1] >= '0' && line[n-1] <= '9' && bytes.HasSuffix(line[:n-1], []byte(" HTTP/1."))
}

// parseLogonLine reads a first line: "user", or "user<TAB>key=value<TAB>key=value".
func parseLogonLine(line []byte) (Message, error) {
	words := bytes.Split(line, []byte{'\t'})
	user, err := parseLineID(words[0], "")
	if err != nil {
		return Message{}, err
	}
	d := Message{Type: TypeLogon, ID: lineLogon, UserID: user}
	if len(words) == 1 {
		return d, nil
	}
	fields := make(map[string]string)
	for _, word := range words[1:] {
		k, v, ok := bytes.Cut(word, []byte{'='})
		key := string(unescape(k))
		if _, twice := fields[key]; !ok || twice {
			return Message{}, invalid("after the user ID write key=value pairs, each after a tab and no key twice")
		}
		fields[key] = string(unescape(v))
	}
	if session, asks := fields[FieldSession]; asks {
		d.ID = lineLogonShowID
		if session == "" {
			delete(fields, FieldSession)
		}
	}
	if len(fields) == 0 {
		return d, nil
	}
	if d.Body, err = AppendStringMap(nil, fields); err != nil {
		return Message{}, invalid("after the user ID: %v", err)
	}
	return d, nil
}

// parseLine reads a line that is not the first. It reuses the string dest where the destination is the same. Any line
// is a message: a line without another form is a text.
func parseLine(line []byte, dest string) Message {
	if len(line) == 0 {
		return Message{Type: TypeHeartbeat}
	}
	d := Message{Type: 1}
	if line[0] == '@' {
		word, rest, _ := bytes.Cut(line[1:], []byte{' '})
		if id, err := parseLineID(word, dest); err == nil && id != "" {
			d.DestUserID, line = id, rest
		}
	}
	word, rest, _ := bytes.Cut(line, []byte{' '})
	if typ, id, ok := parseLineType(word); ok {
		d.Type, d.ID, d.Body = typ, id, unescape(rest)
	} else {
		d.Body = line[:len(line):len(line)]
	}
	if d.Type == TypeClose {
		d.Body = bodies.AppendClose(nil, uint16(ClientClosed), string(d.Body), nil)
	}
	return d
}

// parseLineType reads "/type" or "/type:id", the type in decimal, or in hex after 0x.
func parseLineType(word []byte) (typ uint16, id uint32, ok bool) {
	if len(word) < 2 || word[0] != '/' {
		return 0, 0, false
	}
	digits, number, asks := bytes.Cut(word[1:], []byte{':'})
	base := 10
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		digits, base = digits[2:], 16
	}
	t, err := strconv.ParseUint(string(digits), base, 16)
	if err != nil || t == 0 {
		return 0, 0, false
	}
	if asks {
		n, err := strconv.ParseUint(string(number), 10, 32)
		if err != nil {
			return 0, 0, false
		}
		id = uint32(n)
	}
	return uint16(t), id, true
}

// parseLineID returns the user ID in a line; known if it is the same.
func parseLineID(word []byte, known string) (string, error) {
	id := unescape(word)
	if string(id) == known {
		return known, nil
	}
	if len(id) > MaxUserID || !validID(id) {
		return "", idError("the user ID", id)
	}
	return string(id), nil
}

// Append implements [Codec].
func (lineCodec) Append(dst []byte, m *Message) ([]byte, error) {
	if err := messageError(m); err != nil {
		return dst, err
	}
	out, err := appendLine(dst, m)
	if err != nil {
		return dst, fmt.Errorf("rollcall: the body of a type 0x%04x: %w", m.Type, err)
	}
	return append(out, '\n'), nil
}

func appendLine(dst []byte, m *Message) ([]byte, error) {
	reply, failed := m.Flags&FlagReply != 0, m.Flags&FlagError != 0
	switch {
	case m.Type == TypeClose && !reply:
		return appendLineClose(append(dst, "* close "...), m.Body)
	case m.Type == TypeLogon && failed:
		return appendLineClose(append(dst, "* refused "...), m.Body)
	case m.Type == TypeLogon && reply:
		fields, err := ParseLogonReply(m.Body)
		if m.ID != lineLogonShowID {
			delete(fields, FieldSession)
		}
		return appendLineFields(append(dst, "* welcome"...), fields), err
	case m.Type == TypeLogon:
		fields, err := parseStringMap(m.Body)
		return appendLineFields(appendEscaped(dst, m.UserID, notNames+" "), fields), err
	case m.Type == TypeHeartbeat && reply && !failed:
		return strconv.AppendUint(append(dst, "* heartbeat "...), uint64(m.ID), 10), nil
	case m.Type == TypeHeartbeat && !reply && m.ID == 0 && m.UserID == "" && m.DestUserID == "" && len(m.Body) == 0:
		return dst, nil
	}

	if failed {
		dst = append(dst, "! "...)
	} else if reply {
		dst = append(dst, "= "...)
	}
	if m.UserID != "" {
		dst = append(appendEscaped(append(dst, '<'), m.UserID, " "), "> "...)
	}
	if m.DestUserID != "" {
		dst = append(appendEscaped(append(dst, '@'), m.DestUserID, " "), ' ')
	}
	if m.Type == 1 && m.ID == 0 && !failed && isPlainText(m.Body) {
		return append(dst, m.Body...), nil
	}
	dst = append(dst, '/')
	if m.Type >= FirstSystemType {
		dst = fmt.Appendf(dst, "0x%04X", m.Type)
	} else {
		dst = strconv.AppendUint(dst, uint64(m.Type), 10)
	}
	if m.ID != 0 {
		dst = strconv.AppendUint(append(dst, ':'), uint64(m.ID), 10)
	}
	if failed {
		return appendLineClose(append(dst, ' '), m.Body)
	}
	if len(m.Body) > 0 {
		dst = appendEscaped(append(dst, ' '), m.Body, "")
	}
	return dst, nil
}

// isPlainText reports whether a text can be written without escapes: it stays whole, and is taken for nothing else.
func isPlainText(text []byte) bool {
	if len(text) == 0 || strings.IndexByte(notPlain, text[0]) >= 0 {
		return false
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if isForbidden(r, n) {
			return false
		}
		text = text[n:]
	}
	return true
}

// notPlain has the characters that begin something other than a text.
const notPlain = "@/<=!*"

// appendLineClose appends a code and a text as "code name text<TAB>key=value"; a code without a name has "-".
func appendLineClose(dst, body []byte) ([]byte, error) {
	e, err := ParseClose(body)
	if err != nil {
		return dst, err
	}
	dst = append(strconv.AppendUint(dst, uint64(e.Code), 10), ' ')
	if name, ok := closeCodeNames[e.Code]; ok {
		dst = append(dst, name...)
	} else {
		dst = append(dst, '-')
	}
	if e.Text != "" {
		dst = appendEscaped(append(dst, ' '), e.Text, "")
	}
	return appendLineFields(dst, e.Info), nil
}

// appendLineFields appends a tab and key=value for each pair, in the order of the keys.
func appendLineFields(dst []byte, fields map[string]string) []byte {
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		dst = append(appendEscaped(append(dst, '\t'), k, "="), '=')
		dst = appendEscaped(dst, fields[k], "")
	}
	return dst
}
