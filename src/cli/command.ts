import type { PullEvent } from '../copy/events.ts'

/** One option of a command, as help, completion, man page and parser see it. */
export interface OptionSpec {
  readonly type: 'boolean' | 'string' | 'integer'
  /** One letter: `-q`. */
  readonly short?: string
  /** Given several times, all values are kept. */
  readonly multiple?: true
  /** What the value is called in the help: `DIR`. */
  readonly value?: string
  /** The only values that are taken. */
  readonly choices?: readonly string[]
  /** Smallest integer that is taken; 0 if absent. */
  readonly min?: number
  readonly max?: number
  readonly summary: string
}

/** Options by their long names. */
export type OptionTable = Readonly<Record<string, OptionSpec>>

/** What the parser gives for a table of options. */
export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends { readonly type: 'boolean' }
    ? boolean
    : Table[Name] extends { readonly multiple: true }
      ? readonly string[]
      : (Table[Name] extends { readonly type: 'integer' } ? number : string) | undefined
}

/** One operand in the usage line. Only the last may be optional or many. */
export interface OperandSpec {
  readonly name: string
  readonly optional?: true
  readonly many?: true
  /** What completion offers for it. */
  readonly complete?: 'image' | 'directory' | readonly string[]
}

/** A command line that works, and what it does. */
interface Example {
  readonly line: string
  readonly does: string
}

/** Everything that is said about a command. Help, completion, man page and docs are made from it. */
export interface CommandSpec<Table extends OptionTable> {
  /** Paragraphs of plain text. */
  readonly description: string
  readonly operands: readonly OperandSpec[]
  readonly options: Table
  /** At least one. */
  readonly examples: readonly [Example, ...Example[]]
  /** False where no disk of the store is touched, so that nobody need watch over it. */
  readonly watched?: false
  /** Exit statuses that mean something particular here. */
  readonly exits?: readonly string[]
  /** Whether it makes files of an image's owners, or works on those that are there: an ordinary user is given a user namespace for it. */
  rootFor?(options: OptionValues<Table>, operands: readonly string[]): 'making owners' | 'reaching files' | undefined
  /** Resolves to the exit status if it is not 0; throws WindlassError. */
  run(context: Context, operands: readonly string[], options: OptionValues<Table>): Promise<number | undefined>
}

/** A command whose options are not known by type: what the table holds. */
export type Command = CommandSpec<OptionTable>

/** Checks a command's table, and gives `run` the types of its options. */
export function defineCommand<const Table extends OptionTable>(command: CommandSpec<Table>): CommandSpec<Table> {
  return command
}

/** A line of the command table: what is known before the command's module is loaded. */
export interface CommandEntry {
  readonly name: string
  readonly summary: string
  load(): Promise<{ readonly command: Command }>
}

const progressModes = ['auto', 'tty', 'plain', 'json', 'none'] as const
const logLevels = ['error', 'warn', 'info', 'debug'] as const
/** How progress is shown, once `auto` is decided. */
export type ProgressMode = Exclude<(typeof progressModes)[number], 'auto'>
/** What is told on stderr beside progress; each level includes those before it. */
export type LogLevel = (typeof logLevels)[number]

/** The options that every command takes, before or after its name. */
export const globalOptions = {
  root: { type: 'string', value: 'DIR', summary: 'the store; WINDLASS_ROOT sets it, too' },
  progress: {
    type: 'string',
    value: 'MODE',
    choices: progressModes,
    summary:
      'how progress is shown on stderr: auto, tty, plain, none, or json: one event a line, errors too, and nothing else',
  },
  json: { type: 'boolean', summary: 'print the result, and errors, as JSON' },
  quiet: { type: 'boolean', short: 'q', summary: 'print nothing but the bare result' },
  'log-level': {
    type: 'string',
    value: 'LEVEL',
    choices: logLevels,
    summary: 'error, warn, info or debug; debug shows what led to an error',
  },
  help: { type: 'boolean', short: 'h', summary: 'print this help' },
  version: { type: 'boolean', summary: 'print the version' },
} as const satisfies OptionTable

/** What a stream must be able to do. */
export interface Output {
  write(text: string): boolean
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

/** The display of one operation. Dispose draws its last state and leaves it on the screen. */
export interface Progress extends Disposable {
  handle(event: PullEvent): void
  /** Has something else written to the screen, above the display. */
  aside(write: () => void): void
}

/** What a command may use: nothing else of the process is its business. */
export interface Context {
  readonly root: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: Output
  readonly stderr: Output
  /** Aborts on SIGINT, SIGTERM and SIGHUP. */
  readonly signal: AbortSignal
  readonly json: boolean
  /** Stderr is for programs: errors are told there as JSON, and notes not at all. */
  readonly jsonErrors: boolean
  readonly quiet: boolean
  readonly logLevel: LogLevel
  /** Opens the progress display for one operation; `name` is what is being waited for until more is known. */
  openProgress(name: string): Promise<Progress>
}
