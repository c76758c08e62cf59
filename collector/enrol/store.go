package enrol

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// Token is what is kept of a join token.
type Token struct {
	ID         string
	SecretHash [sha256.Size]byte
	Created    time.Time
	Expires    time.Time
	UsesLeft   int
}

// Enrolment is one agent and what it was let in by.
type Enrolment struct {
	AgentID string
	// TokenID or ServiceAccount (namespace/name) is set, never both.
	TokenID        string
	ServiceAccount string
	// KeyHash is of the first public key's SubjectPublicKeyInfo.
	KeyHash [sha256.Size]byte
	// Node and MachineID are what the agent says, for people.
	Node      string
	MachineID string
	At        time.Time
}

// Answers of stores.
var (
	ErrUnknownToken = errors.New("there is no such join token")
	ErrUsedUp       = errors.New("the join token is used up")
)

// TokenStore keeps join tokens.
type TokenStore interface {
	AddToken(context.Context, Token) error
	// Token may answer ErrUnknownToken.
	Token(ctx context.Context, id string) (Token, error)
	// Tokens are all, the newest first.
	Tokens(context.Context) ([]Token, error)
	// RemoveToken may answer ErrUnknownToken.
	RemoveToken(ctx context.Context, id string) error
}

// AgentStore keeps who enrolled.
type AgentStore interface {
	// AddEnrolment books an enrolment, in one transaction. If one by the same
	// token or service account and with the same key is there, it is the same
	// agent whose answer got lost: that one's agent id is returned and nothing
	// changes. Otherwise a use is taken off the token, if it is by a token:
	// ErrUnknownToken and ErrUsedUp when there is none to take.
	AddEnrolment(context.Context, Enrolment) (agentID string, err error)
	// Revoked tells whether an agent may no longer have certificates.
	Revoked(ctx context.Context, agentID string) (bool, error)
}
