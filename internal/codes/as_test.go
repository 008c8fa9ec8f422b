package codes

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// hidden is an error that is a CloseError by its method As alone.
type hidden struct{ error }

func (hidden) As(target any) bool {
	e, ok := target.(**protocol.CloseError)
	if ok {
		*e = &protocol.CloseError{Code: protocol.TimedOut}
	}
	return ok
}

// What errors.As finds is found, in its order, and so are bare codes.
func TestACloseErrorIsFoundAlsoInABareCode(t *testing.T) {
	text := &protocol.CloseError{Code: protocol.Refused, Text: "no"}
	var none *protocol.CloseError
	for _, c := range []struct {
		err  error
		want string // the code, and the text of the CloseError
	}{
		{nil, ""},
		{io.EOF, ""},
		{fmt.Errorf("wrapped: %w", io.EOF), ""},
		{errors.Join(io.EOF, io.ErrUnexpectedEOF), ""},
		{protocol.Refused, "Refused "},
		{text, "Refused no"},
		{fmt.Errorf("wrapped: %w", protocol.Refused), "Refused "},
		{fmt.Errorf("wrapped: %w", text), "Refused no"},
		{errors.Join(io.EOF, fmt.Errorf("wrapped: %w", protocol.KickedOut), text), "KickedOut "},
		{errors.Join(io.EOF, text, protocol.KickedOut), "Refused no"},
		{fmt.Errorf("%w and %w", io.EOF, protocol.NoHandler), "NoHandler "},
		{hidden{io.EOF}, "TimedOut "},
		{none, "nil"},
	} {
		var ce *protocol.CloseError
		got := ""
		if As(c.err, &ce) {
			if got = "nil"; ce != nil {
				got = ce.Code.Error() + " " + ce.Text
			}
		}
		if got != c.want {
			t.Errorf("in %v: found %q, want %q", c.err, got, c.want)
		}
	}
}
