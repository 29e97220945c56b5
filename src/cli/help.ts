import { formatOperands } from './args.ts'
import { type Command, type CommandEntry, globalOptions, type OptionSpec, type OptionTable } from './command.ts'

const width = 90

/** The help of windlass itself: all commands, all global options. */
export function formatOverview(entries: readonly CommandEntry[]): string {
  const names = entries.map(({ name, summary }): [string, string] => [name, summary])
  return [
    'Usage: windlass [OPTIONS] COMMAND',
    '',
    ...wrap(
      'The container image engine that cannot hang: pulls, verifies and unpacks images in one pass, without a daemon.',
      width,
    ),
    '',
    'Commands:',
    ...formatColumns(names),
    '',
    'Options:',
    ...formatOptions(globalOptions),
    '',
    "'windlass COMMAND --help' tells more about a command.",
    '',
  ].join('\n')
}

/** The help of one command. */
export function formatHelp(name: string, command: Command): string {
  const options = Object.keys(command.options).length === 0 ? [] : ['', 'Options:', ...formatOptions(command.options)]
  return [
    `Usage: windlass ${name} [OPTIONS] ${formatOperands(command)}`.trimEnd(),
    '',
    ...command.description.split('\n').flatMap(paragraph => wrap(paragraph, width)),
    ...options,
    '',
    'Global options:',
    ...formatOptions(globalOptions),
    '',
    'Examples:',
    ...command.examples.flatMap(({ line, does }) => [
      `  ${line}`,
      ...wrap(does, width - 6).map(text => `      ${text}`),
    ]),
    ...(command.exits === undefined ? [] : ['', 'Exit status:', ...command.exits.map(text => `  ${text}`)]),
    '',
  ].join('\n')
}

/** `-q, --quiet`, `--root DIR`. */
export function formatOptionName(name: string, { short, value, type }: OptionSpec): string {
  const long = type === 'boolean' ? `--${name}` : `--${name} ${value ?? 'VALUE'}`
  return short === undefined ? long : `-${short}, ${long}`
}

function formatOptions(table: OptionTable): string[] {
  return formatColumns(
    Object.entries(table).map(([name, spec]) => {
      const text = formatOptionName(name, spec)
      return [spec.short === undefined ? `    ${text}` : text, spec.summary]
    }),
  )
}

function formatColumns(rows: readonly (readonly [string, string])[]): string[] {
  const left = Math.max(...rows.map(([name]) => name.length)) + 3
  return rows.flatMap(([name, text]) =>
    wrap(text, width - left - 2).map((line, index) => `  ${(index === 0 ? name : '').padEnd(left)}${line}`),
  )
}

function wrap(text: string, columns: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
