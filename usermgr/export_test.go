package usermgr

import "io"

// NewTerminalDisplayer is NewConsoleDisplayer with w taken for a terminal.
func NewTerminalDisplayer(w io.Writer) UserDisplayer {
	return &console{w: w, clears: true, users: make(map[string]DisplayItem)}
}
