package protocol_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/rollcall-go/rollcall/protocol"
)

// codeOf returns the close code in err, 0 if there is none.
func codeOf(err error) (code protocol.CloseCode) {
	errors.As(err, &code)
	return code
}

// Codes go by thousand, also unknown ones.
func TestMayReconnect(t *testing.T) {
	for code, want := range map[protocol.CloseCode]bool{
		0: false, 999: false,
		protocol.ClientClosed: true, protocol.NetworkError: true, protocol.HeartbeatTimeout: true, protocol.SlowConsumer: true, protocol.ServerStopping: true,
		protocol.LogonTimeout: true, protocol.TooManyConnections: true, protocol.RateLimited: true, protocol.InternalError: true, 1999: true,
		protocol.PushedOut: false, protocol.AlreadyLoggedOn: false, protocol.KickedOut: false, protocol.Unauthorized: false, protocol.InvalidMessage: false,
		protocol.WrongUserID: false, protocol.MessageTooLarge: false, protocol.DeviceNotAllowed: false, protocol.SessionExpired: false, 2999: false,
		3000: true, 3999: true, 4000: false, 4999: false,
		protocol.UserOffline: false, protocol.NoHandler: false, protocol.HandlerFailed: false, protocol.Refused: false, protocol.TimedOut: false, 5999: false,
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
		"1005 LogonTimeout", "1006 TooManyConnections", "1007 RateLimited", "1008 InternalError", "1009 NodeLost", "1010 TokenExpired",
		"2000 PushedOut", "2001 AlreadyLoggedOn", "2002 KickedOut", "2003 Unauthorized", "2004 InvalidMessage",
		"2005 WrongUserID", "2006 MessageTooLarge", "2007 DeviceNotAllowed", "2008 SessionExpired",
		"5000 UserOffline", "5001 NoHandler", "5002 HandlerFailed", "5003 Refused", "5004 TimedOut",
		"5100 NoSuchGroup", "5101 NotMember", "5102 GroupMuted", "5103 MemberMuted", "5104 Banned", "5105 GroupNoAnonymous", "5106 GroupFull",
		"5107 NotAdministrator", "5108 GroupClosed", "5110 NoSuchUser", "5111 ReceivingOff", "5112 SendingOff", "5113 Blocked",
		"5114 UserNoAnonymous", "5115 NotFriends", "5116 RequestsOff", "5117 AlreadyFriends", "5120 NoSuchMessage", "5121 NotYours",
		"5122 RecallExpired", "5123 Incomplete", "5130 Busy", "5131 NotStored",
	}
	var got []string
	for c := range protocol.CloseCode(65535) {
		if name := c.Error(); name != fmt.Sprintf("code %d", uint16(c)) {
			got = append(got, fmt.Sprintf("%d %s", uint16(c), name))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the names are\n%v, want\n%v", got, want)
	}
}

// A close code is found in an error by errors.Is and errors.As, with a text or bare.
func TestACloseCodeIsAnError(t *testing.T) {
	for _, err := range []error{protocol.Refused, protocol.Errorf(protocol.Refused, "not %s", "today"), fmt.Errorf("wrapped: %w", protocol.Errorf(protocol.Refused, "no")),
		fmt.Errorf("wrapped: %w", protocol.Refused)} {
		if !errors.Is(err, protocol.Refused) || errors.Is(err, protocol.UserOffline) || codeOf(err) != protocol.Refused {
			t.Errorf("%v: not found to be Refused alone", err)
		}
	}
	var none *protocol.CloseError
	if errors.Is(none, protocol.Refused) {
		t.Error("a nil *CloseError is found to be Refused")
	}
	if got := protocol.Errorf(protocol.Refused, "not %s", "today").Error(); got != "rollcall: Refused: not today" {
		t.Errorf("the error's text is %q", got)
	}
	if got := fmt.Sprintf("%v %d %v", protocol.Refused, protocol.Refused, protocol.CloseCode(4001)); got != "Refused 5003 code 4001" {
		t.Errorf("printed, codes are %q", got)
	}
}

func TestCloseErrorText(t *testing.T) {
	for _, c := range []struct {
		err  protocol.CloseError
		want string
	}{
		{protocol.CloseError{Code: protocol.PushedOut}, "rollcall: PushedOut"},
		{protocol.CloseError{Code: protocol.KickedOut, Text: "spam"}, "rollcall: KickedOut: spam"},
		{protocol.CloseError{Code: 4001, Text: "go"}, "rollcall: code 4001: go"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("Error() = %q, want %q", got, c.want)
		}
	}
}
