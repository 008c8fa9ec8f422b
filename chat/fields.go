package chat

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// reader reads the fields of a request. After the first field that has no value, or one that it cannot have, err is set.
type reader struct {
	fields map[string]string
	err    error
}

func (r *request) read() *reader { return &reader{fields: r.Fields} }

func (f *reader) fail(format string, a ...any) {
	if f.err == nil {
		f.err = protocol.Errorf(protocol.Incomplete, format, a...)
	}
}

// flag reads 0 or 1.
func (f *reader) flag(name string, without bool) bool {
	switch v, given := f.fields[name]; {
	case !given:
		return without
	case v == "1":
		return true
	case v != "0":
		f.fail("the field %q is %.32q, it may be 0 or 1", name, v)
	}
	return false
}

// flags reads those of some flags that are given, and returns what sets them in a T.
func flags[T any](f *reader, fields map[string]func(*T) *bool) (set []func(*T)) {
	for name, field := range fields {
		if _, given := f.fields[name]; given {
			on := f.flag(name, false)
			set = append(set, func(v *T) { *field(v) = on })
		}
	}
	return set
}

// number reads a decimal number below 2^63.
func (f *reader) number(name string) (n uint64, given bool) {
	v, given := f.fields[name]
	if !given {
		return 0, false
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil {
		f.fail("the field %q is %.32q, it may be a number below 2^63", name, v)
	}
	return n, true
}

// limit reads how many entries a page may have.
func (f *reader) limit(most int) int {
	n, given := f.number("limit")
	if !given || n > uint64(most) {
		return most
	}
	if n == 0 {
		f.fail("the field \"limit\" is 0, the least is 1")
	}
	return int(n)
}

// time reads a time in milliseconds since 1970; 0 is the zero Time.
func (f *reader) time(name string) time.Time {
	n, given := f.number(name)
	if !given {
		f.fail("the field %q is missing", name)
	}
	return timeOf(n)
}

// group reads the ID of a group.
func (f *reader) group() GroupID {
	n, _ := f.number("group")
	if n == 0 {
		f.fail("the field \"group\" is missing or 0")
	}
	return GroupID(n)
}

// user reads a user's ID.
func (f *reader) user() string {
	id, given := f.fields["user"]
	if !given {
		f.fail("the field \"user\" is missing")
		return ""
	}
	if err := protocol.CheckUserID(id); err != nil {
		f.fail("the field \"user\": %v", err)
	}
	return id
}

// conversation reads a group's ID or a user's; reserved says that the ID may be Anonymous or Server.
func (f *reader) conversation(reserved bool) Conversation {
	id, user := f.fields["user"]
	_, group := f.fields["group"]
	switch {
	case user == group:
		f.fail("one of the fields \"group\" and \"user\" is needed, and not both")
		return Conversation{}
	case group:
		return ToGroup(f.group())
	case reserved && (id == Anonymous || id == Server):
		return ToUser(id)
	}
	return ToUser(f.user())
}

// text reads a text for people.
func (f *reader) text(name string) (text string, given bool) {
	text, given = f.fields[name]
	if why := textFault(text); why != "" {
		f.fail("the field %q %s", name, why)
	}
	return text, given
}

const mostText = 256

// textFault says what is wrong with a name or a text, or "".
func textFault(text string) string {
	switch {
	case len(text) > mostText:
		return "has more than 256 bytes"
	case !utf8.ValidString(text):
		return "is not UTF-8"
	case strings.ContainsFunc(text, unicode.IsControl):
		return "has control characters"
	}
	return ""
}

// ids reads the content as a list of user IDs.
func (r *request) ids(f *reader) []string {
	ids, err := system.ParseIDList(r.Content)
	if err != nil {
		f.fail("%v", err)
	}
	return ids
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}
