package system_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/rollcall-go/rollcall/internal/system"
	"github.com/rollcall-go/rollcall/protocol"
)

// seed adds the bodies of the messages of these types among protocol's vectors.
func seed(f *testing.F, types ...uint16) {
	f.Helper()
	for _, body := range vectorBodies(f, types...) {
		f.Add(body)
	}
}

// contents returns the contents of the operations among the bodies of these types.
func contents(f *testing.F, types ...uint16) (all [][]byte) {
	f.Helper()
	for _, body := range vectorBodies(f, types...) {
		if o, err := protocol.ParseOperation(body); err == nil {
			all = append(all, o.Content)
		}
	}
	return all
}

func vectorBodies(f *testing.F, types ...uint16) (all [][]byte) {
	f.Helper()
	text, err := os.ReadFile("../../protocol/testdata/vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			Valid struct {
				Type    uint16 `json:"type"`
				BodyHex string `json:"body_hex"`
			} `json:"valid"`
		} `json:"vectors"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		f.Fatal(err)
	}
	for _, v := range file.Vectors {
		if !slices.Contains(types, v.Valid.Type) {
			continue
		}
		body, err := hex.DecodeString(v.Valid.BodyHex)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, body)
	}
	if len(all) < 10 {
		f.Fatalf("%d vectors of the types %x", len(all), types)
	}
	return all
}

func FuzzStringMap(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00"))
	f.Add([]byte("\x02\x07session\x00\x040197\x05token\x00\x06secret"))
	f.Add([]byte("\x02\x01k\x00\x01v\x01k\x00\x01w"))
	f.Add([]byte("\xff\x01k\x00\x01v"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := system.ParseStringMap(b)
		if err != nil {
			if codeOf(err) != protocol.InvalidMessage || m != nil {
				t.Fatalf("%v, %v", m, err)
			}
		} else {
			written, err := protocol.AppendStringMap(nil, m)
			if err != nil || len(b) > 0 && len(written) != len(b) {
				t.Fatalf("%x became %x, %v", b, written, err)
			}
			if again, err := system.ParseStringMap(written); err != nil || !maps.Equal(again, m) {
				t.Fatalf("%v became %v, %v", m, again, err)
			}
		}

		// The same bytes as a code and a text: what is read is written as it was, but for the order of pairs.
		e, err := protocol.ParseClose(b)
		if err != nil {
			if codeOf(err) != protocol.InvalidMessage || e != nil {
				t.Fatalf("%v, %v", e, err)
			}
			return
		}
		again, err := protocol.ParseClose(system.AppendClose(nil, e))
		if err != nil || again.Code != e.Code || again.Text != e.Text || !maps.Equal(again.Info, e.Info) {
			t.Fatalf("%v became %v, %v", e, again, err)
		}
	})
}

// A push that is read is written as it was, but for the order of its metadata.
func FuzzPush(f *testing.F) {
	seed(f, protocol.TypePush, protocol.TypePushAck)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		p, err := protocol.ParsePush(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the body was written to")
		}
		if err != nil {
			if codeOf(err) != protocol.InvalidMessage || p != nil {
				t.Fatalf("%+v, %v", p, err)
			}
		} else {
			written, err := system.AppendPush(nil, p)
			if err != nil || len(written) != len(b) {
				t.Fatalf("%x became %x, %v", b, written, err)
			}
			if again, err := protocol.ParsePush(written); err != nil || !reflect.DeepEqual(again, p) {
				t.Fatalf("%+v became %+v, %v", p, again, err)
			}
		}
		if id, err := system.ParsePushAck(b); (err == nil) != (len(b) == 16) || err == nil && !bytes.Equal(id[:], b) {
			t.Fatalf("acknowledged is %v, %v", id, err)
		}
	})
}

func FuzzIDList(f *testing.F) {
	seed(f, protocol.TypeWhoIsOnline)
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, err := system.ParseIDList(b)
		if err != nil {
			if codeOf(err) != protocol.InvalidMessage || ids != nil {
				t.Fatalf("%q, %v", ids, err)
			}
			return
		}
		if again, err := system.AppendIDList(nil, ids); err != nil || !bytes.Equal(again, b) || len(ids) > system.MaxIDList {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}

func FuzzPresence(f *testing.F) {
	fuzzList(f, protocol.ParsePresences, system.AppendPresences, protocol.TypePresence)
}
