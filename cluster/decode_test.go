package cluster

import (
	"bytes"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// What nodes tell each other comes out as it went in, and other bytes are refused.
func FuzzDecodeFrame(f *testing.F) {
	for _, by := range []usermgr.Address{{}, {Via: "unix"}, {Remote: netip.MustParseAddrPort("192.0.2.1:7"), Via: "tcp"},
		{Remote: netip.MustParseAddrPort("[2001:db8::1%eth0]:7"), Via: "tls"}} {
		f.Add((&frame{kind: frameEvict, from: 1, to: 2, session: uuid.UUID{3, 4}, by: by}).encode())
	}
	f.Add((&frame{kind: frameHello, from: 1, to: 2, version: frameVersion}).encode())
	f.Add((&frame{kind: frameDeliver, from: 1, to: 2, numbers: numbers{seq: 3, flags: flagResent, ticket: 4}, user: "bob", message: protocol.Message{
		Type: 5, Flags: protocol.FlagReply, ID: 6, Device: 7, UserID: "ann", DestUserID: "bob", Body: []byte("hi")}, policy: 1, key: "k"}).encode())
	f.Add((&frame{kind: frameTell, from: 1, to: 2, numbers: numbers{seq: 3}, user: "chat", message: protocol.Message{Body: []byte{1}}}).encode())
	f.Add((&frame{kind: frameNotHere, from: 1, to: 2, user: "bob", code: protocol.MessageTooLarge, text: "too large"}).encode())
	f.Add((&frame{kind: frameConfirmed, from: 1, to: 2, owner: "bob", push: uuid.UUID{3}, session: uuid.UUID{5}, device: 4}).encode())
	f.Add((&frame{kind: frameUnasked, from: 1, to: 2, owner: "bob", push: uuid.UUID{3}, session: uuid.UUID{5}, device: 4}).encode())
	f.Add([]byte{})
	f.Add(make([]byte, frameHeader+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeFrame(b)
		if err != nil {
			return
		}
		again, err := decodeFrame(got.encode())
		if len(got.message.Body) == 0 {
			got.message.Body = nil
		}
		got.by.Remote = netip.AddrPortFrom(got.by.Remote.Addr().WithZone(""), got.by.Remote.Port()) // a zone is of one machine
		got.way = nil                                                                               // the mesh's own
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}

// A frame of a newer version says what a frame of this version says: fields that this version does not know are skipped, wherever they
// stand.
func TestFieldsThatAreUnknownAreSkipped(t *testing.T) {
	want := frame{kind: frameEvict, from: 1, to: 2, session: uuid.UUID{3, 4}, by: usermgr.Address{Via: "tcp"}}
	b := want.encode()
	newer := appendField(slices.Clone(b[:frameHeader]), 250, bytes.Repeat([]byte{1}, 300))
	newer = appendNumber(append(newer, b[frameHeader:]...), 251, 1<<40)
	if got, err := decodeFrame(newer); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range [][]byte{newer[:len(newer)-1], append(b, 250), append(b, 250, 0x80), append(b, byte(fieldSession), 1, 7), append(b, byte(fieldVersion), 0)} {
		if got, err := decodeFrame(bad); err == nil {
			t.Errorf("%x was taken for %+v", bad, got)
		}
	}
}

// A record comes out as it went in, with the record's version where an entry has none, and other bytes are refused.
func FuzzDecodeRecord(f *testing.F) {
	f.Add(encodeRecord(nil, []mark{{node: 1, end: 2}}), uint64(1))
	f.Add(encodeRecord(nil, []mark{{end: 4000 << 20, what: barID{1, 2, 3, 4, 5, 6}, code: protocol.KickedOut}, {end: 8000, what: barID{7}, code: 4999}}), uint64(1))
	f.Add(encodeRecord([]entry{
		{node: 1, session: uuid.UUID{2}, device: 3, ending: true, generation: 4},
		{node: 5, session: uuid.UUID{6}, token: tokenDigest("ann", "secret"), past: past{{id: pastID{7}}, {id: pastID{8}, continued: true}}},
	}, []mark{{node: 1, end: 2}, {node: 3, end: 4}}), uint64(7))
	f.Add([]byte{1, 2, 3}, uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, version uint64) {
		version %= 1 << 53
		entries, marks, err := decodeAll(b, Version(version))
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.generation == 0 && version != 0 {
				t.Error("an entry has no generation")
			}
		}
		once := encodeRecord(entries, marks)
		again, marks, err := decodeAll(once, Version(version))
		if err != nil || !bytes.Equal(encodeRecord(again, marks), once) {
			t.Errorf("%+v became %+v, %v", entries, again, err)
		}
	})
}

// A record is small, as docs/cluster.md says. A record with one session, and its version of 8 bytes, has at most 64 bytes: Redis stores longer values
// in a larger form by default.
func TestRecordsAreSmall(t *testing.T) {
	own := entry{node: 1 << 31, session: uuid.UUID{2}, first: true}
	with := func(change func(*entry)) entry {
		e := own
		change(&e)
		return e
	}
	token := func(e *entry) { e.token, e.device = tokenDigest("ann", "secret"), 3 }
	most := with(func(e *entry) {
		token(e)
		e.device, e.generation, e.past = math.MaxUint16, 1<<53-1, make(past, maxPast-1)
	})
	for _, c := range []struct {
		what    string
		entries []entry
		want    int
	}{
		{"a session", []entry{own}, 21},
		{"one with a token and a device", []entry{with(token)}, 28},
		{"two of them", []entry{with(func(e *entry) { token(e); e.generation = 1 << 50 }), with(token)}, 63},
		{"one with a token, a device and others before it, which is written again", []entry{most}, 54},
	} {
		if got := len(encodeRecord(c.entries, nil)); got != c.want {
			t.Errorf("the record of %s has %d bytes, want %d", c.what, got, c.want)
		}
	}
}
