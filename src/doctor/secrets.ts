/**
 * What may be told of command lines, variables and settings: whatever may be a secret is hidden, and where that is not sure it is hidden, too. The rules are substitutions
 * that JavaScript and sed -E understand alike, and are done one after the other: the collector runs the very same ones on hosts where nothing is installed.
 */
import { basename } from 'node:path'
import type { HostView } from '../sys/host-view.ts'
import { readArguments } from '../sys/process-files.ts'
import { readProcess } from '../sys/tasks.ts'

/** Without `#`, which stands around them in sed. In the replacement `\1` is the first group. `names` says that it goes by names, and so not for lists of directories. */
type Rule = readonly [pattern: string, replacement: string, by?: 'names']

/** What a name has in it that stands before a secret. */
const secretWords = [
  ...['pass', 'pwd', 'token', 'secret', 'cred', 'auth', 'key', 'cookie', 'session', 'bearer', 'signature'],
  ...['private', 'salt', 'license', 'jwt', 'psk', 'dsn', 'webhook'],
]
/** Options whose value is anybody's: variables of a container, users with their passwords, headers. */
const openOptions = '-?-(e|env|u|user|username|build-arg|label|annotation|header)'

/** In either case of letters, without a flag that not every sed has. */
function anyCase(word: string): string {
  return word.toLowerCase().replace(/[a-z]/g, letter => `[${letter.toUpperCase()}${letter}]`)
}

const secretName = `(${secretWords.map(anyCase).join('|')})[A-Za-z0-9_.-]*`
const hidden = '…'

/** The digest in a name is no credential before an `@`, and no random word: a slash before it says so while the rules are at work. */
const digestsAside: readonly Rule[] = [
  ['@(sha[0-9]+:)', '<at>\\1'],
  ['(sha[0-9]+:)([0-9a-f])', '\\1/\\2'],
]
const digestsBack: readonly Rule[] = [
  ['(sha[0-9]+:)/', '\\1'],
  ['<at>', '@'],
]
const credentials: readonly Rule[] = [
  [`(${['Bearer', 'Basic'].map(anyCase).join('|')}) +[^ "']+`, `\\1 ${hidden}`],
  // Whatever stands before the last @ of a word, since a password may hold a slash or another @.
  [`//[^ "'<>]*@`, `//${hidden}@`],
  [`[^ "'=/@]+:[^ "'/@][^ "'@]*@`, `${hidden}@`],
  [`(//[^ ?"']*[?])[^ "']*`, `\\1${hidden}`],
]
/** Twenty letters and digits together that are no part of a path, unless they are letters or digits alone. */
const randomWords: readonly Rule[] = [
  ['(^|[^A-Za-z0-9+/])([A-Za-z0-9+]{20,}[A-Za-z0-9+/=_-]*)', '\\1<<\\2>>'],
  ['<<([A-Za-z+/=_-]*)>>', '\\1'],
  ['<<([0-9]+)>>', '\\1'],
  ['<<[A-Za-z0-9+/=_-]*>>', hidden],
]
const anywhere = [...digestsAside, ...credentials, ...randomWords, ...digestsBack]

/** For sentences, JSON and tables: a value ends where a word does. */
const textRules: readonly Rule[] = [
  [`(${secretName}["']? *=) *["']?[^ "',;&]+`, `\\1${hidden}`],
  [`(${secretName}["'] *: *["'])[^"']+`, `\\1${hidden}`],
  ...anywhere,
]
/** For a word of a command line, or a variable with its name: a value goes on to its end. */
const wordRules: readonly Rule[] = [
  [`^(${openOptions})=.*`, `\\1=${hidden}`],
  ['^-([eu])[^-].*', `-\\1${hidden}`],
  ['^-p([^-/0-9].*|[0-9]+[^0-9].*)$', `-p${hidden}`],
  [`(${secretName}["']? *=).*`, `\\1${hidden}`, 'names'],
  [`((^|[ "'{,])[A-Za-z0-9_.-]*${secretName}["']? *:).*`, `\\1${hidden}`, 'names'],
  [`(${anyCase('proxy')}=)[^/@ ]*@`, `\\1${hidden}@`],
  ...anywhere,
]
/** An option after which the next word is a secret; `-p` is so, too, but for a path and a number. */
const secretOption = `(-[^=]*${secretName}|${openOptions})`
const harmless = '(/.*|[0-9]+)'
/**
 * Lists of directories are evidence: a directory may be called whatever it likes, as long as no other assignment stands there: an equals sign comes after a slash, and what
 * comes after a colon begins with one.
 */
const between = ` ,;&|"'()`
const directories = `^(PATH|LD_LIBRARY_PATH)=[^=/:${between}]*(/[^:${between}]*)?([${between}][^=/:${between}]*(/[^:${between}]*)?|:+/[^:${between}]*)*:*$`
/** What follows is the command of a container, or a password. */
const lastWord = '^(run|exec|create|login|secret|kube|play|compose)$'

type Compiled = readonly [pattern: RegExp, replacement: string, by?: 'names' | undefined]

function compile(rules: readonly Rule[]): readonly Compiled[] {
  return rules.map(([pattern, replacement, by]) => [
    new RegExp(pattern, 'gs'),
    replacement.replace(/\\(\d)/g, '$$$1'),
    by,
  ])
}

const [compiledText, compiledWord] = [compile(textRules), compile(wordRules)]
const isSecretOption = new RegExp(`^${secretOption}$`)
const isHarmless = new RegExp(`^${harmless}$`)
const isLast = new RegExp(lastWord)
const isDirectories = new RegExp(directories)

function apply(rules: readonly Compiled[], text: string): string {
  const known = isDirectories.test(text) ? rules.filter(([, , by]) => by === undefined) : rules
  return known.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text)
}

/** Text without what may be a secret. */
export function hideInText(text: string): string {
  return apply(compiledText, text)
}

/** Whatever may stand between words is a space, as the shell's collector has it. */
const control = new RegExp(`[${String.fromCharCode(1)}-${String.fromCharCode(31)}]`, 'g')

function hideInWord(word: string): string {
  return apply(compiledWord, word.replace(control, ' '))
}

/** The command line of an engine, a decompressor or an untar without what may be a secret. */
export function hideInWords(args: readonly string[]): string[] {
  const end = args.findIndex((arg, at) => at > 0 && isLast.test(arg))
  const told = args.slice(0, end < 0 ? args.length : end + 1).map((arg, at) => {
    const before = args[at - 1] ?? ''
    if (isSecretOption.test(before) || (before === '-p' && !isHarmless.test(arg))) return hidden
    return hideInWord(arg)
  })
  return end < 0 || end === args.length - 1 ? told : [...told, hidden]
}

/** The value of a variable; a proxy needs no scheme. */
export function hideInSetting(name: string, value: string): string {
  return hideInWord(`${name}=${value}`).slice(name.length + 1)
}

/** Programs whose command lines are about images. */
const known =
  /^(dockerd|containerd|podman|crio|buildkitd|buildah|skopeo|unpigz|pigz|igzip|gzip|zstd|xz|docker-untar|docker-applyLa|storage-untar|storage-applyL)/

/** What runs there, with its process ID. Of strangers the name alone: their command lines are nobody's business. */
export function describeProcess(host: HostView, pid: number): string {
  const { name = 'process' } = readProcess(pid, host) ?? {}
  const args = known.test(name) ? hideInWords(readArguments(host, pid)).slice(0, 8) : []
  if (args.length > 0) return `${args.join(' ')} ${pid}`
  const program = host.link(`/proc/${pid}/exe`)
  return program === undefined || basename(program) === name ? `${name} ${pid}` : `${name} ${pid} (${program})`
}

/** The same rules as functions of the shell: `redact` for text, `redact_words` for words, each on a line of its own. */
export function redactionScript(): string {
  const text = textRules.map(formatRule).join(' \\\n    ')
  const words = wordRules.map(formatRule).join(' \\\n    ')
  return [
    `redact() {\n  sed -E ${text}\n}`,
    // The line before stands before each while it is looked at; the first is the program.
    `redact_words() {\n  sed -E -n -e '1{h;b go' -e '}' -e 'x;G' \\
    -e '\\#^${secretOption}\\n#{s#.*#${hidden}#;p;d' -e '}' \\
    -e '\\#^-p\\n#{\\#^-p\\n${harmless}$#!{s#.*#${hidden}#;p;d' -e '}' -e '}' \\
    -e 's#^.*\\n##' -e '\\#${lastWord}#{p;s#.*#${hidden}#;$!p;q' -e '}' -e ':go' \\
    ${words} -e p\n}`,
  ].join('\n\n')
}

function formatRule([pattern, replacement, by]: Rule): string {
  const quote = (text: string) => text.replaceAll("'", "'\\''")
  const unless = by === undefined ? '' : `\\#${directories}#!`
  return `-e '${quote(`${unless}s#${pattern}#${replacement}#g`)}'`
}
