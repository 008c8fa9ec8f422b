package protocol_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

const aboutLines = `# What a client of Rollcall decodes and encodes, one vector a line, for tests without a JSON parser. docs/protocol.md describes the format.
# Made from vectors.json and a table: do not edit.
#
# Columns are separated by tabs; each kind of line, which is its first column, has the same number of columns on every line. A column may
# be empty. Numbers are decimal. Bytes are hexadecimal, and so are all texts and IDs of users, as UTF-8, because they may have any character.
# MAP is a string map: KEY=VALUE, hexadecimal, separated by commas, in the order of the keys' bytes. LIST is hexadecimal, separated by commas.
# DIRECTION is client-to-server, server-to-client or both. MAX_BODY and MAX_FRAME are the decoder's limits in bytes; 0 is none.
#
# Decoding. FLAGS has 1 for a reply and 2 for an error. USER is the sender's ID, DEST the destination's.
# frame       NAME DIRECTION MAX_BODY MAX_FRAME FRAME TYPE FLAGS ID DEVICE USER DEST BODY    a frame and its fields; an encoder makes FRAME of the fields
# refused     NAME DIRECTION MAX_BODY MAX_FRAME FRAME CODE REFUSED_AT                        a frame that is refused with the close code CODE
# unfinished  NAME DIRECTION MAX_BODY MAX_FRAME FRAME NEED                                   the beginning of a frame; so many bytes must be there before it is worth looking again
#
# REFUSED_AT is with how many bytes of the frame a server must find the mistake. A client must find the same code, and may find it later, with more
# bytes. A frame that is refused may be no longer than its header although its length says more: the header shows the mistake.
#
# Bodies. Each belongs to the frame of the same NAME.
# map         NAME BODY MAP                                    of a Logon and a Renew. An encoder makes BODY of MAP, but for an empty BODY, which is an empty map too
# logon-reply NAME BODY MAP                                    of the reply to an accepted Logon or Renew
# close       NAME BODY CODE TEXT MAP                          of a Close, and of each reply with the error flag
# push        NAME BODY ID KIND PUSH_NAME CONFIRM TIME_MS MAP CONTENT    ID is a UUID's text, CONFIRM 0 or 1, TIME_MS signed, MAP the metadata
# push-ack    NAME BODY ID
# id-list     NAME BODY LIST                                   of WhoIsOnline and its reply
# bad-body    NAME BODY WHAT CODE                              the frame is fine, its body is refused with CODE. WHAT is map, push, push-ack or id-list
#
# Encoding: what a client sends, and the bytes. Pairs of string maps are in the order of the keys' bytes; a server takes any order, but tests need one.
# encode      NAME WHAT TYPE FLAGS ID DEVICE USER DEST ARGUMENT TEXT INFO FRAME
# ARGUMENT is, by WHAT: message and reply: the body. logon and renew: a MAP. close and error-reply: the code; TEXT and INFO, a MAP, belong to it.
# push-ack: the push's ID as text. who-is-online: a LIST. heartbeat and heartbeat-reply: empty.
#
# What a client must refuse to send, and what it may not refuse. BYTES is hexadecimal, or HEX*N for HEX N times.
# unsendable  NAME WHAT BYTES
# sendable    NAME WHAT BYTES
# WHAT is user (the ID to log on with), dest (the ID of another user to send to), listed (an ID in WhoIsOnline), key or value (in a string map).
# Those that are no UTF-8 concern languages whose strings can hold them.
`

// vectorLines returns the content of testdata/vectors.txt.
func vectorLines(t *testing.T) []byte {
	t.Helper()
	var b strings.Builder
	b.WriteString(aboutLines)
	line := func(kind, name string, columns ...any) {
		for _, c := range append([]any{kind, name}, columns...) {
			if s, ok := c.(string); ok && strings.ContainsAny(s, "\t\n") {
				t.Fatalf("the vector %q has a column with a tab or a line feed", name)
			}
		}
		b.WriteString(kind + "\t" + name)
		for _, c := range columns {
			fmt.Fprintf(&b, "\t%v", c)
		}
		b.WriteByte('\n')
	}
	for _, v := range vectorCases() {
		if forClients(&v) {
			decodingLines(line, &v)
		}
	}
	for _, e := range encodingCases() {
		m := e.message
		line("encode", e.name, e.what, m.Type, int(m.Flags), m.ID, m.Device, hexOf(m.UserID), hexOf(m.DestUserID), e.argument,
			hexOf(e.text), pairs(e.info), hex.EncodeToString(e.frame))
	}
	for _, s := range sendCases() {
		kind := "unsendable"
		if s.may {
			kind = "sendable"
		}
		repeated := hex.EncodeToString([]byte(s.bytes))
		if s.times > 1 {
			repeated += "*" + strconv.Itoa(s.times)
		}
		line(kind, s.name, s.what, repeated)
	}
	return []byte(b.String())
}

// forClients reports whether a vector is for every client: chat, presence, contacts and groups are not.
func forClients(v *vector) bool {
	if v.Valid == nil {
		return true
	}
	typ := v.Valid.Type
	return typ < protocol.TypePresence || typ > protocol.TypeChat
}

func decodingLines(line func(kind, name string, columns ...any), v *vector) {
	head := []any{v.Direction, v.MaxBody, v.MaxFrame, v.Hex}
	switch m := v.Valid; {
	case v.Error != "":
		line("refused", v.Name, append(head, int(v.Code), v.RefusedAt)...)
	case m == nil:
		line("unfinished", v.Name, append(head, v.Need)...)
	default:
		flags := 0
		if m.Reply {
			flags |= 1
		}
		if m.Error {
			flags |= 2
		}
		line("frame", v.Name, append(head, m.Type, flags, m.ID, m.Device, hexOf(m.UserID), hexOf(m.DestUserID), m.BodyHex)...)
		if m.Body != nil {
			bodyLine(line, v.Name, m)
		}
	}
}

func bodyLine(line func(kind, name string, columns ...any), name string, m *vectorMessage) {
	switch b := m.Body; {
	case b.Error != 0:
		what := "map"
		switch m.Type {
		case protocol.TypePush:
			what = "push"
		case protocol.TypePushAck:
			what = "push-ack"
		case protocol.TypeWhoIsOnline:
			what = "id-list"
		}
		line("bad-body", name, m.BodyHex, what, int(b.Error))
	case b.Logon != nil:
		line("map", name, m.BodyHex, pairs(*b.Logon))
	case b.Welcome != nil:
		line("logon-reply", name, m.BodyHex, pairs(*b.Welcome))
	case b.Close != nil:
		line("close", name, m.BodyHex, int(b.Close.Code), hexOf(b.Close.Text), pairs(b.Close.Info))
	case b.Push != nil:
		confirm := 0
		if b.Push.Confirm {
			confirm = 1
		}
		line("push", name, m.BodyHex, b.Push.ID, int(b.Push.Kind), hexOf(b.Push.Name), confirm, b.Push.TimeMS, pairs(b.Push.Metadata), b.Push.ContentHex)
	case b.PushAck != "":
		line("push-ack", name, m.BodyHex, b.PushAck)
	case b.IDs != nil:
		line("id-list", name, m.BodyHex, listed(*b.IDs))
	}
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }

func pairs(m map[string]string) string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, hexOf(k)+"="+hexOf(m[k]))
	}
	return strings.Join(all, ",")
}

func listed(ids []string) string {
	var all []string
	for _, id := range ids {
		all = append(all, hexOf(id))
	}
	return strings.Join(all, ",")
}
