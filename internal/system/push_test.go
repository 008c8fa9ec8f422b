package system_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/internal/bodies"
	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

var (
	pushID   = uuid.MustParse("0197abcd-ef01-7234-89ab-0123456789ab")
	pushTime = time.UnixMilli(1_760_000_000_000).UTC() // 2025-10-09T08:53:20Z
)

func text(s string) []byte { return []byte(s) }

// codeOf returns the close code in err, 0 if there is none.
func codeOf(err error) (code protocol.CloseCode) {
	errors.As(err, &code)
	return code
}

// What may be pushed, and what may not, in either direction.
func TestPushLimits(t *testing.T) {
	tooMany := make(map[string]string)
	for i := range bodies.MaxFields + 1 {
		tooMany[fmt.Sprint(i)] = ""
	}
	for _, c := range []struct {
		name string
		p    protocol.PushMessage
		ok   bool
	}{
		{"least", protocol.PushMessage{ID: pushID, Kind: protocol.PushBinary}, true},
		{"all of it", protocol.PushMessage{ID: pushID, Kind: protocol.PushCustom, Name: "score", Confirm: true, Time: pushTime,
			Metadata: map[string]string{"a": "1", "b": ""}, Content: text("3:1")}, true},
		{"no ID", protocol.PushMessage{Kind: protocol.PushText}, false},
		{"no kind", protocol.PushMessage{ID: pushID}, false},
		{"text", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Content: text("Grüße\n")}, true},
		{"text not UTF-8", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Content: text("\xff")}, false},
		{"binary not UTF-8", protocol.PushMessage{ID: pushID, Kind: protocol.PushBinary, Content: text("\xff")}, true},
		{"kick out not UTF-8", protocol.PushMessage{ID: pushID, Kind: protocol.PushKickOut, Content: text("\xff")}, true},
		{"text with a name", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Name: "n"}, false},
		{"binary with a name", protocol.PushMessage{ID: pushID, Kind: protocol.PushBinary, Name: "n"}, false},
		{"kick out with a name", protocol.PushMessage{ID: pushID, Kind: protocol.PushKickOut, Name: "n"}, false},
		{"notification with a name", protocol.PushMessage{ID: pushID, Kind: protocol.PushNotification, Name: "n"}, false},
		{"custom without a name", protocol.PushMessage{ID: pushID, Kind: protocol.PushCustom}, false},
		{"custom, name of 255 bytes", protocol.PushMessage{ID: pushID, Kind: protocol.PushCustom, Name: strings.Repeat("n", 255)}, true},
		{"custom, name of 256 bytes", protocol.PushMessage{ID: pushID, Kind: protocol.PushCustom, Name: strings.Repeat("n", 256)}, false},
		{"custom, name not UTF-8", protocol.PushMessage{ID: pushID, Kind: protocol.PushCustom, Name: "\xff"}, false},
		{"a kind to come", protocol.PushMessage{ID: pushID, Kind: 6, Content: text("\xff")}, true},
		{"a kind to come, with a name", protocol.PushMessage{ID: pushID, Kind: 255, Name: "n"}, true},
		{"a kind to come, name of 256 bytes", protocol.PushMessage{ID: pushID, Kind: 6, Name: strings.Repeat("n", 256)}, false},
		{"metadata of 255 pairs", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Metadata: firstFields(tooMany)}, true},
		{"metadata of 256 pairs", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Metadata: tooMany}, false},
		{"metadata with an empty key", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Metadata: map[string]string{"": ""}}, false},
		{"the year 1", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Time: time.Unix(-62135596800+1, 0).UTC()}, true},
		{"the last time", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Time: time.UnixMilli(math.MaxInt64).UTC()}, true},
		{"the first time", protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Time: time.UnixMilli(math.MinInt64).UTC()}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := system.AppendPush(append(make([]byte, 0, 1000), "before"...), &c.p)
			if checked := system.CheckPush(&c.p); fmt.Sprint(checked) != fmt.Sprint(err) {
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
			if got, err := protocol.ParsePush(b[6:]); err != nil || !reflect.DeepEqual(got, &c.p) {
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
			b, err := system.AppendPush(nil, &protocol.PushMessage{ID: pushID, Kind: protocol.PushText, Time: c.in})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := protocol.ParsePush(b); err != nil || got.Time != c.want {
				t.Errorf("parsed %+v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// A push is refused when it is cut off before its content, and is another one, not a worse one, when within that.
func TestParsePushOfEveryPrefix(t *testing.T) {
	want := protocol.PushMessage{ID: pushID, Kind: protocol.PushCustom, Name: "score", Confirm: true, Time: pushTime,
		Metadata: map[string]string{"k": "v"}, Content: text("content")}
	b, err := system.AppendPush(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		p, err := protocol.ParsePush(b[:n])
		if n < len(b)-len("content") {
			if codeOf(err) != protocol.InvalidMessage || p != nil {
				t.Errorf("of %d bytes: %+v, %v", n, p, err)
			}
		} else if err != nil || !strings.HasPrefix("content", string(p.Content)) {
			t.Errorf("of %d bytes: %+v, %v", n, p, err)
		}
	}
}

// The content is the caller's to keep, whatever becomes of the body.
func TestParsePushCopies(t *testing.T) {
	want := protocol.PushMessage{ID: pushID, Kind: protocol.PushCustom, Name: "n", Metadata: map[string]string{"k": "v"}, Content: text("content")}
	b, err := system.AppendPush(nil, &want)
	if err != nil {
		t.Fatal(err)
	}
	p, err := protocol.ParsePush(b)
	clear(b)
	if err != nil || !reflect.DeepEqual(p, &want) {
		t.Errorf("it has become %+v, %v", p, err)
	}
}

// A name, a map and a list of IDs are believed only when their bytes have come.
func TestBodiesDoNotAllocateByLength(t *testing.T) {
	ids := []byte{0x03, 0xe8, 1}
	push := append(bytes.Clone(pushID[:]), "\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01n\xff"...)
	for name, parse := range map[string]func() error{
		"an ID list": func() error { _, err := system.ParseIDList(ids); return err },
		"a push":     func() error { _, err := protocol.ParsePush(push); return err },
	} {
		const times = 1000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			if codeOf(parse()) != protocol.InvalidMessage {
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
	for k := range protocol.PushKind(8) {
		names = append(names, k.String())
	}
	if got := strings.Join(names, ", "); got != "kind 0, Text, Binary, KickOut, Notification, Custom, kind 6, kind 7" {
		t.Errorf("the names are %s", got)
	}
}

func TestPushAck(t *testing.T) {
	b := system.AppendPushAck(text("before"), pushID)
	if !bytes.Equal(b, append(text("before"), pushID[:]...)) {
		t.Errorf("appended is %x", b)
	}
	if id, err := system.ParsePushAck(b[6:]); id != pushID || err != nil {
		t.Errorf("parsed %v, %v", id, err)
	}
	for _, n := range []int{0, 15, 17, 32} {
		if id, err := system.ParsePushAck(make([]byte, n)); codeOf(err) != protocol.InvalidMessage || id != uuid.Nil {
			t.Errorf("of %d bytes: %v, %v", n, id, err)
		}
	}
}
