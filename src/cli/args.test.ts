import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { WindlassError } from '../errors.ts'
import { parseArguments, parseGlobals, splitArguments } from './args.ts'
import { defineCommand } from './command.ts'

const command = defineCommand({
  description: 'A command.',
  operands: [{ name: 'SRC' }, { name: 'DEST', optional: true }],
  options: {
    force: { type: 'boolean', short: 'f', summary: 'force' },
    layers: { type: 'integer', value: 'N', min: 1, max: 64, summary: 'layers' },
    label: { type: 'string', value: 'TEXT', multiple: true, summary: 'labels' },
  },
  examples: [{ line: 'windlass x', does: 'x' }],
  run: async () => 0,
})

const many = { ...command, operands: [{ name: 'REF', many: true as const }] }

function usageError(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof WindlassError)
    assert.equal(error.code, 'USAGE')
    assert.equal(error.exitStatus, 125)
    return error.message
  }
  throw new assert.AssertionError({ message: 'nothing was thrown' })
}

describe('splitArguments', () => {
  test('the command is the first word that is no value of a global option', () => {
    assert.deepEqual(splitArguments(['--root', 'pull', '-q', 'images', '--root=x', 'pull']), {
      name: 'images',
      rest: ['--root', 'pull', '-q', '--root=x', 'pull'],
    })
  })

  test('without a command the name is missing, also when only operands follow --', () => {
    assert.equal(splitArguments(['--json']).name, undefined)
    assert.equal(splitArguments(['--', 'pull']).name, undefined)
  })

  test('an option of a command before the command is refused rather than its value taken for the command', () => {
    assert.match(
      usageError(() => splitArguments(['--layers', '3', 'pull', 'x'])),
      /--layers/,
    )
  })
})

describe('parseArguments', () => {
  test('global and own options stand anywhere among the operands', () => {
    const parsed = parseArguments(['a', '-fq', '--layers', '3', 'b', '--root=/r', '--json'], 'x', command)
    assert.deepEqual(parsed.operands, ['a', 'b'])
    assert.equal(parsed.options['force'], true)
    assert.equal(parsed.options['layers'], 3)
    assert.equal(parsed.globals.quiet, true)
    assert.equal(parsed.globals.json, true)
    assert.equal(parsed.globals.root, '/r')
  })

  test('a repeatable option keeps all values, another the last', () => {
    const { options } = parseArguments(['a', '--label', '1', '--label=2', '--layers=1', '--layers=2'], 'x', command)
    assert.deepEqual(options['label'], ['1', '2'])
    assert.equal(options['layers'], 2)
  })

  test('what is not given is false, undefined or an empty list', () => {
    const { options } = parseArguments(['a'], 'x', command)
    assert.equal(options['force'], false)
    assert.equal(options['layers'], undefined)
    assert.deepEqual(options['label'], [])
  })

  test('after -- everything is an operand', () => {
    assert.deepEqual(parseArguments(['--', '-f', '--json'], 'x', command).operands, ['-f', '--json'])
  })

  test('an unknown option is refused with the nearest name', () => {
    const message = usageError(() => parseArguments(['a', '--layer', '3'], 'x', command))
    assert.equal(message, 'Cannot use option --layer: windlass x does not have it; did you mean --layers?')
    assert.doesNotMatch(
      usageError(() => parseArguments(['a', '--zzzzzz'], 'x', command)),
      /did you mean/,
    )
    assert.match(
      usageError(() => parseArguments(['a', '-z'], 'x', command)),
      /-z/,
    )
    assert.match(
      usageError(() => parseArguments(['a', '--__proto__'], 'x', command)),
      /does not have it/,
    )
    assert.match(
      usageError(() => parseArguments(['a', '--constructor'], 'x', command)),
      /does not have it/,
    )
  })

  test('a value that is missing is not taken from the next option', () => {
    assert.match(
      usageError(() => parseArguments(['a', '--root', '--json'], 'x', command)),
      /--root DIR/,
    )
    assert.match(
      usageError(() => parseArguments(['a', '--root'], 'x', command)),
      /its value is missing/,
    )
    assert.equal(parseArguments(['a', '--root=--json'], 'x', command).globals.root, '--json')
  })

  test('a boolean takes no value', () => {
    assert.match(
      usageError(() => parseArguments(['a', '--json=yes'], 'x', command)),
      /takes no value/,
    )
  })

  for (const value of ['0', '65', '-1', '1.5', '1e1', 'x', '', '9'.repeat(30)]) {
    test(`the number ${JSON.stringify(value)} is refused where 1 to 64 is wanted`, () => {
      assert.match(
        usageError(() => parseArguments(['a', `--layers=${value}`], 'x', command)),
        /from 1 to 64/,
      )
    })
  }

  test('a choice is one of its words', () => {
    assert.match(
      usageError(() => parseArguments(['a', '--progress=tt'], 'x', command)),
      /auto, tty, plain, json, none/,
    )
    assert.equal(parseArguments(['a', '--progress', 'plain'], 'x', command).globals.progress, 'plain')
  })

  test('operands that are missing, empty or too many are refused with the usage line', () => {
    assert.match(
      usageError(() => parseArguments([], 'x', command)),
      /SRC is missing; usage: windlass x SRC \[DEST\]/,
    )
    assert.match(
      usageError(() => parseArguments(['a', 'b', 'c'], 'x', command)),
      /"c" is too much/,
    )
    assert.match(
      usageError(() => parseArguments([''], 'x', command)),
      /an operand is empty/,
    )
    assert.match(
      usageError(() => parseArguments([], 'x', many)),
      /REF is missing; usage: windlass x REF…/,
    )
    assert.deepEqual(parseArguments(['a', 'b', 'c'], 'x', many).operands, ['a', 'b', 'c'])
  })

  test('with --help nothing is missing', () => {
    assert.equal(parseArguments(['-h'], 'x', command).globals.help, true)
  })
})

test('parseGlobals refuses what is no global option', () => {
  assert.equal(parseGlobals(['--version']).version, true)
  assert.match(
    usageError(() => parseGlobals(['--force'])),
    /--force/,
  )
})
