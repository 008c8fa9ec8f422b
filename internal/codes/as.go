package codes

import "github.com/rollcall-go/rollcall/protocol"

// As is errors.As for a *protocol.CloseError that also finds a bare close code, as a CloseError without a text. Applications return
// both.
func As(err error, target **protocol.CloseError) bool {
	for err != nil {
		switch e := err.(type) {
		case *protocol.CloseError:
			*target = e
			return true
		case protocol.CloseCode:
			*target = &protocol.CloseError{Code: e}
			return true
		case interface{ As(any) bool }:
			if e.As(target) {
				return true
			}
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				if As(err, target) {
					return true
				}
			}
			return false
		default:
			return false
		}
	}
	return false
}
