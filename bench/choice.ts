/** What is to be measured, from the command line. */
import { parseArgs } from 'node:util'
import { runCommand } from '../test/testbed/command.ts'
import { type Contender, listContenders } from './contenders.ts'
import { type Axis, axes } from './growth-images.ts'
import { type Compression, compressions, type Size, sizes } from './images.ts'

const modes = ['pull', 'again', 'link', 'growth'] as const
export type Mode = (typeof modes)[number]

export interface Choice {
  readonly modes: readonly Mode[]
  readonly sizes: readonly Size[]
  readonly compressions: readonly Compression[]
  readonly axes: readonly Axis[]
  readonly contenders: readonly Contender[]
  /** Names of contenders that are not measured, with the reason. */
  readonly leftOut: readonly string[]
  readonly runs: number
  readonly isLong: boolean
  /** Where the filesystems are made that are pulled into. */
  readonly place: string | undefined
  readonly json: string | undefined
  readonly docs: string | undefined
}

export async function readChoice(args: string[]): Promise<Choice> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      image: { type: 'string', default: 'small,medium' },
      compression: { type: 'string', default: 'gzip,zstd' },
      axis: { type: 'string', default: axes.join(',') },
      runs: { type: 'string', default: '3' },
      only: { type: 'string', default: '' },
      'peers-root': { type: 'string' },
      place: { type: 'string' },
      long: { type: 'boolean', default: false },
      json: { type: 'string' },
      docs: { type: 'string' },
    },
  })
  const runs = Number(values.runs)
  if (!(Number.isInteger(runs) && runs > 0)) throw new Error(`Cannot run ${values.runs} times: wanted 1 or more`)
  const all = listContenders(values['peers-root'])
  const byName = all.map(({ name }) => name)
  const usual = all.filter(({ role }) => role !== 'delivery').map(({ name }) => name)
  const chosen = values.only === '' ? usual : values.only === 'all' ? byName : choose('--only', values.only, byName)
  const missing = await Promise.all(all.map(missingOf))
  const isAble = (at: number) => missing[at]?.length === 0 && chosen.includes(byName[at] ?? '')
  return {
    modes: positionals.length === 0 ? ['pull'] : choose('the word', positionals.join(','), modes),
    sizes: choose('--image', values.image, sizes),
    compressions: choose('--compression', values.compression, compressions),
    axes: choose('--axis', values.axis, axes),
    contenders: all.filter((_, at) => isAble(at)),
    leftOut: byName.flatMap((name, at) => {
      const programs = missing[at] ?? []
      if (isAble(at)) return []
      return [`${name} (${programs.length > 0 ? `${programs.join(', ')} not found` : 'not chosen; see --only'})`]
    }),
    runs,
    isLong: values.long,
    place: values.place,
    json: values.json,
    docs: values.docs,
  }
}

function choose<T extends string>(option: string, text: string, known: readonly T[]): T[] {
  const names = text.split(',')
  for (const name of names) {
    if (!known.some(one => one === name))
      throw new Error(`Cannot use ${option} ${name}: wanted some of ${known.join(', ')}`)
  }
  return known.filter(one => names.includes(one))
}

async function missingOf({ programs, engines }: Contender): Promise<string[]> {
  const found = await Promise.all(
    programs.map(program => {
      const [command = '', ...args] = [...engines, 'sh', '-c', `command -v ${program} >/dev/null`]
      return runCommand(command, args)
    }),
  )
  return programs.filter((_, at) => found[at]?.status !== 0)
}
