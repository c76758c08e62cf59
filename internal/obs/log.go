package obs

import (
	"fmt"
	"os"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// Levels are the names that [NewLogger] takes, the most talkative first.
var Levels = []string{"debug", "info", "warn", "error"}

// NewLogger builds the logger of a binary: lines for people if out is a
// terminal, one JSON object per line otherwise. The level is one of [Levels].
func NewLogger(out *os.File, level string) (*zap.Logger, error) {
	if !slices.Contains(Levels, level) {
		return nil, fmt.Errorf("build logger: level %q is none of %v", level, Levels)
	}
	enabled, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("build logger: %w", err)
	}
	core := zapcore.NewCore(encoder(terminal(out)), zapcore.Lock(out), enabled)
	return zap.New(core, zap.ErrorOutput(zapcore.Lock(out))), nil
}

func encoder(people bool) zapcore.Encoder {
	config := zap.NewProductionEncoderConfig()
	config.TimeKey = "time"
	config.MessageKey = "message"
	config.EncodeDuration = zapcore.StringDurationEncoder
	if people {
		config.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		config.EncodeLevel = zapcore.CapitalColorLevelEncoder
		return zapcore.NewConsoleEncoder(config)
	}
	config.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zapcore.NewJSONEncoder(config)
}

func terminal(out *os.File) bool {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return err == nil
}
