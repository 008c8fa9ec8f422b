package protocol

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

const (
	// lineRoom is by how much a line may be longer than the largest body: room for a destination with every byte
	// escaped, the type, the message ID and the line's ending.
	lineRoom = 1100

	lineForm = `write "[@dest] #type [id] text", as in "@bob #1 hello"`
)

// LineCodec is a text format for people with telnet or nc; see [Line].
type LineCodec struct{}

// Line is a text format for people with telnet or nc, one line a message, as docs/protocol.md has it. It is safe for
// any number of goroutines.
//
// Decode reads what a client writes. The first line is the user ID and then, if there are any, tab-separated
// key=value pairs: a Logon with message ID 1. The later ones are
//
//	[@dest] #type [id] text     a message; a number right after the type is its message ID
//	[@dest] text                a message of type 1
//	                            an empty line is a Heartbeat
//
// and the text of a type 0xFF02 is the text of a Close with ClientClosed. Anywhere in a line \\ \n \r \t \s (a space)
// and \xHH stand for a byte; another backslash is itself.
//
// A line is judged when its end has come; a first line's user ID and any line's length are judged at once. A line may
// have MaxFrame bytes as it is written, with its ending, and 1,100 more than MaxBody. Of an unfinished line, what
// DecodeOptions.Seen says is not searched again. m.Body is a part of src with its capacity cut off, or fresh memory if the
// text has escapes. Unless it returns a message, m stays as it was.
//
// Append writes what a server sends: the same form, behind "<sender>" if UserID is set, behind "=" if it is a reply,
// "!" if it is an error reply; and "*" with words for a Logon's reply, a Close and a Heartbeat's reply. Control
// characters, line separators and bytes that are not UTF-8 are escaped, so that a message is one line whatever is in
// it. A Logon is written as a first line. Append refuses what [Binary]'s refuses, and a Close, an error reply, a Logon
// or its reply whose body is not one.
var Line LineCodec

var _ Codec = Line

// Decode implements [Codec].
func (LineCodec) Decode(src []byte, m *Message, o DecodeOptions) (n, need int, err error) {
	limit := lineLimit(o)
	line := src[:min(len(src), limit)]
	seen := min(max(o.Seen, 0), len(line))
	end := bytes.IndexByte(line[seen:], '\n')
	if end >= 0 {
		end += seen
		line = line[:end]
	}
	line = bytes.TrimSuffix(line, []byte{'\r'}) // of an unfinished line perhaps the ending's first half
	if o.First {
		// Judged before the end has come, so that what is not a line at all is refused by its first bytes.
		user, _, tab := bytes.Cut(line, []byte{'\t'})
		if !validIDStart(user, tab || end >= 0) {
			return 0, 0, idError("the user ID in the first line,", user)
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
		d, err = parseLine(line, m.DestUserID)
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

// parseLogonLine reads a first line: "user", or "user<TAB>key=value<TAB>key=value".
func parseLogonLine(line []byte) (Message, error) {
	words := bytes.Split(line, []byte{'\t'})
	user, err := parseLineID(words[0], "")
	if err != nil {
		return Message{}, err
	}
	d := Message{Type: Logon, ID: 1, UserID: user}
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
	if d.Body, err = AppendStringMap(nil, fields); err != nil {
		return Message{}, invalid("after the user ID: %v", err)
	}
	return d, nil
}

// parseLine reads a line that is not the first; dest is a string that need not be allocated again.
func parseLine(line []byte, dest string) (Message, error) {
	if len(line) == 0 {
		return Message{Type: Heartbeat}, nil
	}
	d := Message{Type: 1}
	if line[0] == '@' {
		var word []byte
		var err error
		word, line, _ = bytes.Cut(line[1:], []byte{' '})
		if len(word) == 0 {
			return d, invalid("no user ID after the @; %s", lineForm)
		}
		if d.DestUserID, err = parseLineID(word, dest); err != nil {
			return d, err
		}
	}
	if len(line) > 0 && line[0] == '#' {
		var word []byte
		word, line, _ = bytes.Cut(line[1:], []byte{' '})
		digits, base := word, 10
		if len(word) > 2 && word[0] == '0' && word[1]|0x20 == 'x' {
			digits, base = word[2:], 16
		}
		typ, err := strconv.ParseUint(string(digits), base, 16)
		if err != nil || typ == 0 {
			return d, invalid("the type %.16q is not a number from 1 to 65535; %s", word, lineForm)
		}
		d.Type = uint16(typ)
		if word, text, _ := bytes.Cut(line, []byte{' '}); isNumber(word) {
			id, err := strconv.ParseUint(string(word), 10, 32)
			if err != nil {
				return d, invalid("the message ID %.16q is over 4294967295; before a text that begins with a number "+
					"write the ID 0", word)
			}
			d.ID, line = uint32(id), text
		}
	}
	d.Body = unescape(line)
	if d.Type == Close {
		d.Body = AppendClose(nil, &CloseError{Code: ClientClosed, Text: string(d.Body)})
	}
	return d, nil
}

// parseLineID returns the user ID that a line has, or known if it is the same.
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

func isNumber(word []byte) bool {
	for _, c := range word {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(word) > 0
}

// Append implements [Codec].
func (LineCodec) Append(dst []byte, m *Message) ([]byte, error) {
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
	case m.Type == Close && !reply:
		return appendLineClose(append(dst, "* close "...), m.Body)
	case m.Type == Logon && failed:
		return appendLineClose(append(dst, "* refused "...), m.Body)
	case m.Type == Logon && reply:
		fields, err := ParseLogonReply(m.Body)
		return appendLineFields(append(dst, "* welcome"...), fields), err
	case m.Type == Logon:
		fields, err := ParseStringMap(m.Body)
		return appendLineFields(appendEscaped(dst, m.UserID, ""), fields), err
	case m.Type == Heartbeat && reply && !failed:
		return strconv.AppendUint(append(dst, "* heartbeat "...), uint64(m.ID), 10), nil
	case m.Type == Heartbeat && !reply && m.ID == 0 && m.UserID == "" && m.DestUserID == "" && len(m.Body) == 0:
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
	dst = append(dst, '#')
	if m.Type >= FirstSystemType {
		dst = fmt.Appendf(dst, "0x%04X", m.Type)
	} else {
		dst = strconv.AppendUint(dst, uint64(m.Type), 10)
	}
	// An ID of 0 is written where the text's first word would be taken for one.
	if word, _, _ := bytes.Cut(m.Body, []byte{' '}); m.ID != 0 || failed || isNumber(word) {
		dst = strconv.AppendUint(append(dst, ' '), uint64(m.ID), 10)
	}
	if failed {
		return appendLineClose(append(dst, ' '), m.Body)
	}
	if len(m.Body) > 0 {
		dst = appendEscaped(append(dst, ' '), m.Body, "")
	}
	return dst, nil
}

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
