package protocol

import "fmt"

// CloseOutcome says how a connection ended.
type CloseOutcome uint8

const (
	// OutcomePending: the connection has not ended yet, or its outcome is unknown.
	OutcomePending CloseOutcome = iota
	// OutcomeTold: the server closed the connection, and the peer has received the notice.
	OutcomeTold
	// OutcomeClosedByPeer: the peer or the network ended the connection; the peer may not have seen a notice.
	OutcomeClosedByPeer
	// OutcomeForced: the server closed the connection before the peer had received everything, because time was up.
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
