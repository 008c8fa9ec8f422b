package wire

import (
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

func TestFramesHaveTheSizeThatWasAskedFor(t *testing.T) {
	for name, d := range map[string]Dialect{"rollcall": Rollcall, "zinx": Zinx} {
		for _, size := range []int{d.HeaderLen(), 64, 128, 1024} {
			frame := d.AppendFrame(nil, size)
			if len(frame) != size {
				t.Errorf("%s: a frame of %d bytes, want %d", name, len(frame), size)
			}
			if got := d.FrameLen(append(frame, "the next frame"...)); got != size {
				t.Errorf("%s: FrameLen is %d, want %d", name, got, size)
			}
			if got := d.FrameLen(frame[:d.HeaderLen()-1]); got != 0 {
				t.Errorf("%s: FrameLen of an unfinished header is %d, want 0", name, got)
			}
		}
	}
}

func TestTheLogonBindsTheUser(t *testing.T) {
	frame := Rollcall.AppendLogon(nil, "ann")
	var m protocol.Message
	n, _, err := protocol.Binary.Decode(frame, &m, protocol.DecodeOptions{First: true})
	if err != nil || n != len(frame) || m.UserID != "ann" || m.ID == 0 {
		t.Errorf("decoded %d of %d bytes into %+v, %v", n, len(frame), m, err)
	}
}
