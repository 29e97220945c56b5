import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { formatOperands } from '../src/cli/args.ts'
import { type Command, globalOptions, type OptionTable } from '../src/cli/command.ts'
import { commandTable } from '../src/cli/commands.ts'
import { formatOptionName } from '../src/cli/help.ts'
import { areas, catalogue } from '../src/doctor/catalogue.ts'
import { type ErrorCode, errorTable } from '../src/errors.ts'
import { errorMeanings } from './error-meanings.ts'

/** The package, from which `man/` and `docs/` hang. */
export const packageRoot = join(import.meta.dirname, '..')

interface NamedCommand extends Command {
  readonly name: string
  readonly summary: string
}

const environment = [
  ['WINDLASS_ROOT', 'The store, where --root is not given.'],
  ['XDG_DATA_HOME', "Where a user's own store is, in the directory windlass; ~/.local/share if it is not set."],
  ['DOCKER_DEFAULT_PLATFORM', 'The platform to pull, where --platform is not given.'],
  ['DOCKER_CONFIG', "The directory of docker's config.json, for credentials; ~/.docker if it is not set."],
  ['DOCKER_AUTH_CONFIG', 'Credentials in the form of config.json, which go before the file.'],
  [
    'MOBY_DISABLE_PIGZ, CONTAINERD_DISABLE_PIGZ, CONTAINERD_DISABLE_IGZIP',
    'If true, as docker and containerd read it, auto takes no unpigz and pigz, or no igzip.',
  ],
  [
    'DOCKER_HOST, DOCKER_CONTEXT, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, DOCKER_API_VERSION',
    'The docker daemon for --into docker, as for docker itself.',
  ],
  [
    'CONTAINERD_ADDRESS, CONTAINERD_NAMESPACE, CONTAINERD_SNAPSHOTTER',
    'The containerd for --into containerd, as for ctr.',
  ],
  ['NO_COLOR', 'If set, nothing is coloured.'],
  ['XDG_CACHE_HOME', 'Where compiled code is kept, so that windlass starts faster; ~/.cache if it is not set.'],
] as const

const exitStatuses = [
  ['0', 'done'],
  ['1', 'failed'],
  ['2', 'not found'],
  ['3', 'access denied, by a registry or by a policy'],
  ['4', 'network or TLS'],
  ['5', 'stalled'],
  ['6', 'corrupt: wrong digest, damaged or incomplete archive, damaged store, limit exceeded; no valid signature'],
  ['7', 'no space, or no permission'],
  ['8', 'container engine unreachable'],
  ['10', 'probe, doctor: warnings'],
  [
    '11',
    'probe: a decompressor that the engines here would use hangs or gives wrong bytes; doctor: a pull stands still, or will',
  ],
  ['125', 'wrong usage'],
  ['128+n', 'stopped by signal n'],
] as const

const about =
  'windlass pulls container images into a store of its own, without a daemon and in one pass: what comes from the registry is ' +
  'verified, decompressed and unpacked while it flows. Every wait has a bound and a name. Progress goes to stderr, the result to stdout.'

/** Every generated document, by its path in the package. */
export async function makeDocuments(): Promise<ReadonlyMap<string, string>> {
  const { version } = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as { version: string }
  const commands = await Promise.all(
    commandTable.map(async ({ name, summary, load }) => ({ name, summary, ...(await load()).command })),
  )
  return new Map([
    ['man/windlass.1', formatMan(commands, version)],
    ['docs/cli.md', formatMarkdown(commands)],
    ['docs/errors.md', formatErrors()],
    ['docs/findings.md', formatFindings()],
  ])
}

function formatMan(commands: readonly NamedCommand[], version: string): string {
  const sections = [
    `.TH WINDLASS 1 "" "windlass ${version}" "User Commands"`,
    '.SH NAME',
    roff('windlass - container image engine that cannot hang'),
    '.SH SYNOPSIS',
    '.B windlass',
    '[\\fIOPTIONS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]',
    '.SH DESCRIPTION',
    roff(about),
    '.SH GLOBAL OPTIONS',
    ...manOptions(globalOptions),
    '.SH COMMANDS',
    ...commands.flatMap(manCommand),
    '.SH EXIT STATUS',
    ...exitStatuses.flatMap(([status, meaning]) => ['.TP', `.B ${roff(status)}`, roff(meaning)]),
    '.SH ENVIRONMENT',
    ...environment.flatMap(([name, meaning]) => ['.TP', `.B ${roff(name)}`, roff(meaning)]),
    '.SH FILES',
    '.TP',
    '.I /var/lib/windlass',
    roff("The store of root. Other users' is ~/.local/share/windlass."),
  ]
  return `${sections.join('\n')}\n`
}

function manCommand({ name, summary, description, operands, options, examples, exits }: NamedCommand): string[] {
  return [
    `.SS ${roff(`windlass ${name} ${formatOperands({ operands })}`.trimEnd())}`,
    roff(`${summary}.`),
    ...description.split('\n').flatMap(paragraph => ['.PP', roff(paragraph)]),
    ...manOptions(options),
    '.PP',
    roff(examples.length === 1 ? 'Example:' : 'Examples:'),
    ...examples.flatMap(({ line, does }) => [
      '.PP',
      '.RS 4',
      '.nf',
      roff(line),
      '.fi',
      '.RS 4',
      roff(does),
      '.RE',
      '.RE',
    ]),
    ...(exits === undefined ? [] : ['.PP', 'Exit status:', ...exits.flatMap(text => ['.br', roff(text)])]),
  ]
}

function manOptions(table: OptionTable): string[] {
  return Object.entries(table).flatMap(([name, spec]) => [
    '.TP',
    `.B ${roff(formatOptionName(name, spec))}`,
    roff(spec.summary),
  ])
}

/** Text for roff: its escape, hyphens that must stay hyphens, and dots and quotes that would begin a request. */
function roff(text: string): string {
  const escaped = text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('…', '...').replaceAll('’', "'")
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped
}

function formatMarkdown(commands: readonly NamedCommand[]): string {
  const lines = [
    '# The command line',
    '',
    '<!-- Written by scripts/write-docs.ts from the command table. -->',
    '',
    about,
    '',
    '| command | what it does |',
    '|---|---|',
    ...commands.map(({ name, summary }) => `| [\`${name}\`](#windlass-${name}) | ${summary} |`),
    '',
    '## Global options',
    '',
    'They stand before or after the command.',
    '',
    ...markdownOptions(globalOptions),
    ...commands.flatMap(markdownCommand),
    '## Exit status',
    '',
    '| status | meaning |',
    '|---|---|',
    ...exitStatuses.map(([status, meaning]) => `| ${status} | ${meaning} |`),
    '',
    'The [table of errors](errors.md) lists every error code with its status.',
    '',
    '## Environment',
    '',
    '| variable | meaning |',
    '|---|---|',
    ...environment.map(([name, meaning]) => `| \`${name}\` | ${meaning} |`),
  ]
  return `${lines.join('\n')}\n`
}

function markdownCommand({ name, description, operands, options, examples, exits }: NamedCommand): string[] {
  return [
    `## windlass ${name}`,
    '',
    '```',
    `windlass ${name} [OPTIONS] ${formatOperands({ operands })}`.trimEnd(),
    '```',
    '',
    ...description.split('\n').flatMap(paragraph => [paragraph, '']),
    ...(Object.keys(options).length === 0 ? [] : markdownOptions(options)),
    '```sh',
    ...examples.flatMap(({ line, does }) => [`# ${does}`, line]),
    '```',
    '',
    ...(exits === undefined
      ? []
      : ['Exit status:', '', ...exits.map(text => `- ${text.replace(/^(\d+) +/, '$1: ')}`), '']),
  ]
}

function markdownOptions(table: OptionTable): string[] {
  const rows = Object.entries(table).map(([name, spec]) => `| \`${formatOptionName(name, spec)}\` | ${spec.summary} |`)
  return ['| option | meaning |', '|---|---|', ...rows, '']
}

function formatErrors(): string {
  const lines = [
    '# Errors',
    '',
    '<!-- Written by scripts/write-docs.ts from src/errors.ts. -->',
    '',
    'Every error has a code. With `--json` it is printed on stderr as `{"error":{"code","message","hint","facts"}}`. *Again* says whether',
    'the same command may succeed when it is run again, with nothing changed.',
    '',
    '| code | exit | again | meaning | hint |',
    '|---|---|---|---|---|',
    ...Object.entries(errorTable).map(([code, { exit, retryable, hint }]) => {
      const cells = [`\`${code}\``, exit, retryable ? 'yes' : 'no', errorMeanings[code as ErrorCode], hint ?? '']
      return `| ${cells.join(' | ').trimEnd()} |`
    }),
    '',
    'After a signal, the exit status is 128 and the number of the signal, whatever was going on.',
  ]
  return `${lines.join('\n')}\n`
}

function formatFindings(): string {
  const lines = [
    '# Findings of the doctor',
    '',
    '<!-- Written by scripts/write-docs.ts from src/doctor/catalogue/. -->',
    '',
    'Everything that [`windlass doctor`](doctor.md) can find. `windlass explain CODE` tells the same, in Chinese where the locale says so. The severity is',
    'the usual one; what is certain or harmless in a case may be told as more or less.',
    '',
    ...areas.flatMap(formatArea),
  ]
  return `${lines.join('\n').trimEnd()}\n`
}

function formatArea(area: (typeof areas)[number]): string[] {
  const entries = Object.entries(catalogue).filter(([, entry]) => entry.area === area)
  const rows = entries.map(([code, { severity, en }]) => {
    const advice = en.advice.map(text => `→ ${text}`).join('<br>')
    const cells = [`\`${code}\``, severity, `**${en.title}.** ${en.meaning}`, advice].map(cell =>
      cell.replaceAll('|', '\\|'),
    )
    return `| ${cells.join(' | ').trimEnd()} |`
  })
  return [`## ${area}`, '', '| code | severity | meaning | what to do |', '|---|---|---|---|', ...rows, '']
}

if (import.meta.main) {
  for (const [path, text] of await makeDocuments()) {
    await mkdir(dirname(join(packageRoot, path)), { recursive: true })
    await writeFile(join(packageRoot, path), text)
  }
}
