package audit

import (
	"net/url"
	"strings"
)

// Query are the parameters of a request's path, as API servers and kubelets read them: a
// pair with a semicolon in it or one that is escaped wrongly is none. Of a parameter that is
// given more than once they take the first, which is what Get returns. What is not UTF-8
// has U+FFFD where it is not.
func Query(uri string) url.Values {
	_, query, _ := strings.Cut(uri, "?")
	parameters := make(url.Values)
	for pair := range strings.SplitSeq(query, "&") {
		if name, value, ok := parameter(pair); ok {
			parameters[name] = append(parameters[name], value)
		}
	}
	return parameters
}

// IsTrue reads a boolean parameter as API servers do: of several the first counts, and all
// but 0 and false is true, an empty one too.
func IsTrue(values []string) bool {
	return len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}

// parameter reads one pair of a query.
func parameter(pair string) (name, value string, ok bool) {
	if pair == "" || strings.Contains(pair, ";") {
		return "", "", false
	}
	name, value, _ = strings.Cut(pair, "=")
	name, errName := url.QueryUnescape(name)
	value, errValue := url.QueryUnescape(value)
	if errName != nil || errValue != nil {
		return "", "", false
	}
	return strings.ToValidUTF8(name, "\uFFFD"), strings.ToValidUTF8(value, "\uFFFD"), true
}
