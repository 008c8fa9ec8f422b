package protocol

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

var pushID = uuid.MustParse(pushIDText)

// What may be pushed, and what may not, in either direction.
func TestPushLimits(t *testing.T) {
	tooMany := make(map[string]string)
	for i := range MaxFields + 1 {
		tooMany[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name string
		p    PushMessage
		ok   bool
	}{
		{"least", PushMessage{ID: pushID, Kind: PushBinary}, true},
		{"all of it", PushMessage{ID: pushID, Kind: PushCustom, Name: "score", Confirm: true, Time: pushTime,
			Metadata: map[string]string{"a": "1", "b": ""}, Content: text("3:1")}, true},
		{"no ID", PushMessage{Kind: PushText}, false},
		{"no kind", PushMessage{ID: pushID}, false},
		{"text", PushMessage{ID: pushID, Kind: PushText, Content: text("Grüße\n")}, true},
		{"text not UTF-8", PushMessage{ID: pushID, Kind: PushText, Content: text("\xff")}, false},
		{"binary not UTF-8", PushMessage{ID: pushID, Kind: PushBinary, Content: text("\xff")}, true},
		{"kick out not UTF-8", PushMessage{ID: pushID, Kind: PushKickOut, Content: text("\xff")}, true},
		{"text with a name", PushMessage{ID: pushID, Kind: PushText, Name: "n"}, false},
		{"binary with a name", PushMessage{ID: pushID, Kind: PushBinary, Name: "n"}, false},
		{"kick out with a name", PushMessage{ID: pushID, Kind: PushKickOut, Name: "n"}, false},
		{"notification with a name", PushMessage{ID: pushID, Kind: PushNotification, Name: "n"}, false},
		{"custom without a name", PushMessage{ID: pushID, Kind: PushCustom}, false},
		{"custom, name of 255 bytes", PushMessage{ID: pushID, Kind: PushCustom, Name: strings.Repeat("n", 255)}, true},
		{"custom, name of 256 bytes", PushMessage{ID: pushID, Kind: PushCustom, Name: strings.Repeat("n", 256)}, false},
		{"custom, name not UTF-8", PushMessage{ID: pushID, Kind: PushCustom, Name: "\xff"}, false},
		{"a kind to come", PushMessage{ID: pushID, Kind: 6, Content: text("\xff")}, true},
		{"a kind to come, with a name", PushMessage{ID: pushID, Kind: 255, Name: "n"}, true},
		{"a kind to come, name of 256 bytes", PushMessage{ID: pushID, Kind: 6, Name: strings.Repeat("n", 256)}, false},
		{"metadata of 255 pairs", PushMessage{ID: pushID, Kind: PushText, Metadata: firstFields(tooMany)}, true},
		{"metadata of 256 pairs", PushMessage{ID: pushID, Kind: PushText, Metadata: tooMany}, false},
		{"metadata with an empty key", PushMessage{ID: pushID, Kind: PushText, Metadata: map[string]string{"": ""}}, false},
		{"the year 1", PushMessage{ID: pushID, Kind: PushText, Time: time.Unix(-62135596800+1, 0).UTC()}, true},
		{"the last time", PushMessage{ID: pushID, Kind: PushText, Time: time.UnixMilli(math.MaxInt64).UTC()}, true},
		{"the first time", PushMessage{ID: pushID, Kind: PushText, Time: time.UnixMilli(math.MinInt64).UTC()}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := AppendPush(append(make([]byte, 0, 1000), "before"...), &c.p)
			if checked := CheckPush(&c.p); fmt.Sprint(checked) != fmt.Sprint(err) {
				t.Errorf("CheckPush returned %v, AppendPush %v", checked, err)
			}
			if !c.ok {
				if err == nil || string(b) != "before" || !strings.HasPrefix(err.Error(), "rollcall: ") {
					t.Errorf("got %q, %v; want an error and dst as it was", b, err)
				}
				return
			}
			if err != nil || string(b[:6]) != "before" {
				t.Fatalf("got %q, %v", b, err)
			}
			if got, err := ParsePush(b[6:]); err != nil || !reflect.DeepEqual(got, &c.p) {
				t.Errorf("parsed %+v, %v; want %+v", got, err, c.p)
			}
		})
	}
}

// firstFields is m but for one pair.
func firstFields(m map[string]string) map[string]string {
	less := make(map[string]string)
	for k := range m {
		if len(less) < len(m)-1 {
			less[k] = m[k]
		}
	}
	return less
}

// The wire has whole milliseconds, no zone, and 0 for no time at all.
func TestPushTime(t *testing.T) {
	for name, c := range map[string]struct{ in, want time.Time }{
		"whole milliseconds": {pushTime.Add(999 * time.Microsecond), pushTime},
		"no zone":            {pushTime.In(time.FixedZone("", 3600)), pushTime},
		"before 1970":        {time.UnixMilli(-1).Add(time.Microsecond), time.UnixMilli(-1).UTC()},
		"none":               {time.Time{}, time.Time{}},
		"none, in a zone":    {time.Time{}.In(time.FixedZone("", 3600)), time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := AppendPush(nil, &PushMessage{ID: pushID, Kind: PushText, Time: c.in})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := ParsePush(b); err != nil || got.Time != c.want {
				t.Errorf("parsed %+v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// A push is refused when it is cut off before its content, and is another one, not a worse one, when within that.
func TestParsePushOfEveryPrefix(t *testing.T) {
	want := PushMessage{ID: pushID, Kind: PushCustom, Name: "score", Confirm: true, Time: pushTime,
		Metadata: map[string]string{"k": "v"}, Content: text("content")}
	b, err := AppendPush(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		p, err := ParsePush(b[:n])
		if n < len(b)-len("content") {
			if codeOf(err) != InvalidMessage || p != nil {
				t.Errorf("of %d bytes: %+v, %v", n, p, err)
			}
		} else if err != nil || !strings.HasPrefix("content", string(p.Content)) {
			t.Errorf("of %d bytes: %+v, %v", n, p, err)
		}
	}
}

// The content is the caller's to keep, whatever becomes of the body.
func TestParsePushCopies(t *testing.T) {
	want := PushMessage{ID: pushID, Kind: PushCustom, Name: "n", Metadata: map[string]string{"k": "v"}, Content: text("content")}
	b, err := AppendPush(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePush(b)
	clear(b)
	if err != nil || !reflect.DeepEqual(p, &want) {
		t.Errorf("it has become %+v, %v", p, err)
	}
}

// A name, a map and a list of IDs are believed only when their bytes have come.
func TestBodiesDoNotAllocateByLength(t *testing.T) {
	ids, push := []byte{0x03, 0xe8, 1}, rawPush(5, 0, 0, "n", "\xff", "")
	for name, parse := range map[string]func() error{
		"an ID list": func() error { _, err := ParseIDList(ids); return err },
		"a push":     func() error { _, err := ParsePush(push); return err },
	} {
		const times = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			if codeOf(parse()) != InvalidMessage {
				t.Fatal("no error")
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / times; got > 1000 {
			t.Errorf("%s: %d bytes are allocated", name, got)
		}
	}
}

func TestPushKindNames(t *testing.T) {
	var names []string
	for k := range PushKind(8) {
		names = append(names, k.String())
	}
	if got := strings.Join(names, ", "); got != "kind 0, Text, Binary, KickOut, Notification, Custom, kind 6, kind 7" {
		t.Errorf("the names are %s", got)
	}
}

func TestPushAck(t *testing.T) {
	b := AppendPushAck(text("before"), pushID)
	if !bytes.Equal(b, append(text("before"), pushID[:]...)) {
		t.Errorf("appended is %x", b)
	}
	if id, err := ParsePushAck(b[6:]); id != pushID || err != nil {
		t.Errorf("parsed %v, %v", id, err)
	}
	for _, n := range []int{0, 15, 17, 32} {
		if id, err := ParsePushAck(make([]byte, n)); codeOf(err) != InvalidMessage || id != uuid.Nil {
			t.Errorf("of %d bytes: %v, %v", n, id, err)
		}
	}
}
