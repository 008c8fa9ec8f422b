package protocol

import "fmt"

// CloseOutcome says how a connection ended.
type CloseOutcome uint8

const (
	// OutcomePending: the connection has not ended yet, or it is not known how it ended.
	OutcomePending CloseOutcome = iota
	// OutcomeTold: the server closed it, and the peer has taken the notice.
	OutcomeTold
	// OutcomeClosedByPeer: the peer ended it, or the network did; the peer may not have seen a notice.
	OutcomeClosedByPeer
	// OutcomeForced: the server closed it, and the peer did not take all that was to be sent in time.
	OutcomeForced
)

// String returns the outcome in words.
func (o CloseOutcome) String() string {
	switch o {
	case OutcomePending:
		return "pending"
	case OutcomeTold:
		return "told"
	case OutcomeClosedByPeer:
		return "closed by its peer"
	case OutcomeForced:
		return "closed by force"
	}
	return fmt.Sprintf("CloseOutcome(%d)", uint8(o))
}
