package eventlog

import (
	"fmt"

	"go.uber.org/zap"
)

// adapter gives JetStream's log lines to ours. It logs no message bodies.
type adapter struct{ log *zap.Logger }

func (a adapter) Noticef(format string, args ...any) { a.log.Debug(fmt.Sprintf(format, args...)) }
func (a adapter) Warnf(format string, args ...any)   { a.log.Warn(fmt.Sprintf(format, args...)) }
func (a adapter) Errorf(format string, args ...any)  { a.log.Error(fmt.Sprintf(format, args...)) }
func (a adapter) Fatalf(format string, args ...any)  { a.log.Error(fmt.Sprintf(format, args...)) }
func (a adapter) Debugf(string, ...any)              {}
func (a adapter) Tracef(string, ...any)              {}
