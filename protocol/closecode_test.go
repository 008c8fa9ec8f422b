package protocol

import (
	"errors"
	"fmt"
	"testing"
)

// codeOf returns the close code in err, 0 if there is none.
func codeOf(err error) CloseCode {
	var e *CloseError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// Codes go by thousand, also unknown ones.
func TestMayReconnect(t *testing.T) {
	for code, want := range map[CloseCode]bool{
		0: false, 999: false,
		ClientClosed: true, NetworkError: true, HeartbeatTimeout: true, SlowConsumer: true, ServerStopping: true,
		LogonTimeout: true, TooManyConnections: true, RateLimited: true, InternalError: true, 1999: true,
		PushedOut: false, AlreadyLoggedOn: false, KickedOut: false, Unauthorized: false, InvalidMessage: false,
		WrongUserID: false, MessageTooLarge: false, DeviceNotAllowed: false, SessionExpired: false, 2999: false,
		3000: true, 3999: true, 4000: false, 4999: false,
		UserOffline: false, NoHandler: false, HandlerFailed: false, Refused: false, TimedOut: false, 5999: false,
		6000: false, 65535: false,
	} {
		if got := code.MayReconnect(); got != want {
			t.Errorf("%d.MayReconnect() = %v, want %v", code, got, want)
		}
	}
}

// The numbers and names are the wire's: a change of one breaks every client.
func TestCloseCodeNames(t *testing.T) {
	want := []string{
		"1000 ClientClosed", "1001 NetworkError", "1002 HeartbeatTimeout", "1003 SlowConsumer", "1004 ServerStopping",
		"1005 LogonTimeout", "1006 TooManyConnections", "1007 RateLimited", "1008 InternalError", "1010 TokenExpired",
		"2000 PushedOut", "2001 AlreadyLoggedOn", "2002 KickedOut", "2003 Unauthorized", "2004 InvalidMessage",
		"2005 WrongUserID", "2006 MessageTooLarge", "2007 DeviceNotAllowed", "2008 SessionExpired",
		"5000 UserOffline", "5001 NoHandler", "5002 HandlerFailed", "5003 Refused", "5004 TimedOut",
	}
	var got []string
	for c := range CloseCode(65535) {
		if name := c.String(); name != fmt.Sprintf("code %d", uint16(c)) {
			got = append(got, fmt.Sprintf("%d %s", uint16(c), name))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the names are\n%v, want\n%v", got, want)
	}
}

// A close code is found in an error by errors.Is and errors.As, with a text or bare.
func TestACloseCodeIsAnError(t *testing.T) {
	for _, err := range []error{Refused, Errorf(Refused, "not %s", "today"), fmt.Errorf("wrapped: %w", Errorf(Refused, "no")),
		fmt.Errorf("wrapped: %w", Refused)} {
		var code CloseCode
		if !errors.Is(err, Refused) || errors.Is(err, UserOffline) || !errors.As(err, &code) || code != Refused || codeOf(err) != Refused {
			t.Errorf("%v: not found to be Refused alone", err)
		}
	}
	var none *CloseError
	if errors.Is(none, Refused) {
		t.Error("a nil *CloseError is found to be Refused")
	}
	if got := Errorf(Refused, "not %s", "today").Error(); got != "rollcall: Refused: not today" {
		t.Errorf("the error's text is %q", got)
	}
	if got := fmt.Sprint(Refused, CloseCode(4001)); got != "Refused code 4001" {
		t.Errorf("printed, codes are %q", got)
	}
}

func TestCloseErrorText(t *testing.T) {
	for _, c := range []struct {
		err  CloseError
		want string
	}{
		{CloseError{Code: PushedOut}, "rollcall: PushedOut"},
		{CloseError{Code: KickedOut, Text: "spam"}, "rollcall: KickedOut: spam"},
		{CloseError{Code: 4001, Text: "go"}, "rollcall: code 4001: go"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("Error() = %q, want %q", got, c.want)
		}
	}
}
