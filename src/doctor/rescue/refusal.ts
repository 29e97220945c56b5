/** Why a rescue is refused. Nothing has been changed then; `explain` tells what each means, and what to do next. */

interface Words {
  readonly meaning: string
  /** The next step that helps. */
  readonly next: string
}

const bringIn =
  'Bring the image in without the decompressor of the engine: windlass pull --into docker REF (or containerd).'
const lookAgain = 'Run the command again.'
const killIt =
  'Keep the engine from using this decompressor (windlass doctor -v says how), bring the image in with windlass pull --into, then end the process with kill -9: who waits for it gets an error and is free.'

export const refusals = {
  RESCUE_GONE: {
    meaning: 'The decompressor has ended, or its engine no longer waits for it.',
    next: 'Nothing has to be done for it; run windlass doctor to see what stands still now.',
  },
  RESCUE_PROCESS_CHANGED: {
    meaning:
      'The process with that number is not the one that was looked at: it ended meanwhile, and its number was given away.',
    next: lookAgain,
  },
  RESCUE_DENIED: {
    meaning:
      'The process may not be looked into or traced: no root, a container without CAP_SYS_PTRACE, kernel.yama.ptrace_scope=3, or a security module.',
    next: 'Run it as root of the host, not inside a container; if a security module forbids ptrace there, too, take the next cure.',
  },
  RESCUE_TRACED: {
    meaning: 'Somebody else traces the process (gdb, strace, a security agent), and a process has one tracer.',
    next: 'End the tracer, and run the command again.',
  },
  RESCUE_IN_KERNEL: {
    meaning:
      'A thread of the process does not stop: the kernel holds it (state D). Nobody can end it before the kernel lets it go.',
    next: 'Look for a disk, network filesystem or security agent that does not answer: windlass doctor -v.',
  },
  RESCUE_ARCHITECTURE: {
    meaning: 'The process is no 64-bit program of this machine (x86-64 or arm64): how to make it leave is not known.',
    next: killIt,
  },
  RESCUE_OUTPUT_CLOSED: {
    meaning:
      'It has closed its output before it had given all of the layer. The engine has seen the end of the stream: nobody reads there any more.',
    next: killIt,
  },
  RESCUE_PIPE_SHARED: {
    meaning:
      'Another process, which does not belong to the decompressor, can write to its output, too: the engine would wait for that one as well.',
    next: killIt,
  },
  RESCUE_CONSUMER_BUSY: {
    meaning:
      'What it has written has not been taken yet: whoever unpacks is slow or stands still itself, and what is owed cannot be told to the byte.',
    next: 'Wait a moment and run the command again; if it stays so, the one that unpacks holds up the pull: windlass doctor -v.',
  },
  RESCUE_MOVES: {
    meaning: 'The decompressor, or the engine behind it, went on while it was looked at: it is not stuck.',
    next: 'Let it work. If it stands still later, run the command again.',
  },
  RESCUE_NO_LAYER: {
    meaning: 'The compressed bytes of the layer are not to be had: the engine has no file open that holds them.',
    next: `Name the image, so that the layer comes from its registry: windlass doctor --rescue --image REF. Or: ${bringIn}`,
  },
  RESCUE_LAYER_DAMAGED: {
    meaning: 'No file that may hold the layer can be decoded to its end, or it is not what its digest says.',
    next: bringIn,
  },
  RESCUE_LAYER_UNCLEAR: {
    meaning: 'More than one layer may be the one that this decompressor works on.',
    next: bringIn,
  },
  RESCUE_POSITION_UNPROVEN: {
    meaning: 'It cannot be proven to the byte how much of the layer the engine has been given.',
    next: bringIn,
  },
  RESCUE_PREFIX_DIFFERS: {
    meaning:
      'What the engine has unpacked is not what stands in the layer at that place: the decompressor gave wrong bytes before it got stuck, or it is another layer.',
    next: killIt,
  },
  RESCUE_WRITER_LOST: {
    meaning:
      'An earlier rescue was broken off, and the process that wrote for it still works, or was killed, too: how many bytes it gave is not known.',
    next: `If it still works, wait and run the command again. If not: ${killIt}`,
  },
} as const satisfies Record<string, Words>

export type RefusalCode = keyof typeof refusals

export function isRefusalCode(text: string): text is RefusalCode {
  return Object.hasOwn(refusals, text)
}

/** Thrown where a rescue cannot be sure. */
export class Refusal extends Error {
  readonly code: RefusalCode
  constructor(code: RefusalCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'Refusal'
    this.code = code
  }
}
