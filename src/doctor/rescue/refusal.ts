/** Why a rescue is refused. Nothing has been changed then; `explain` tells what each means, and what to do next. */
import type { Language } from '../catalogue.ts'

interface Words {
  readonly meaning: string
  /** The next step that helps. */
  readonly next: string
}

const bringIn = {
  en: 'Bring the image in without the decompressor of the engine: windlass pull --into docker REF (or containerd).',
  zh: '绕过引擎的解压程序导入镜像：windlass pull --into docker REF（或 containerd）。',
}
const lookAgain = { en: 'Run the command again.', zh: '请再次运行该命令。' }
const killIt = {
  en: 'Keep the engine from using this decompressor (windlass doctor -v says how), bring the image in with windlass pull --into, then end the process with kill -9: who waits for it gets an error and is free.',
  zh: '先禁止引擎使用该解压程序（windlass doctor -v 会说明方法），用 windlass pull --into 导入镜像，再用 kill -9 结束该进程：等待它的拉取会报错并被释放。',
}

export const refusals = {
  RESCUE_GONE: {
    en: {
      meaning: 'The decompressor has ended, or its engine no longer waits for it.',
      next: 'Nothing has to be done for it; run windlass doctor to see what stands still now.',
    },
    zh: {
      meaning: '解压进程已经结束，或引擎已不再等待它。',
      next: '无需处理；运行 windlass doctor 查看现在还有什么停滞。',
    },
  },
  RESCUE_PROCESS_CHANGED: {
    en: {
      meaning:
        'The process with that number is not the one that was looked at: it ended meanwhile, and its number was given away.',
      next: lookAgain.en,
    },
    zh: { meaning: '该编号的进程已不是先前查看的那个：它已结束，编号被分配给了别的进程。', next: lookAgain.zh },
  },
  RESCUE_DENIED: {
    en: {
      meaning:
        'The process may not be looked into or traced: no root, a container without CAP_SYS_PTRACE, kernel.yama.ptrace_scope=3, or a security module.',
      next: 'Run it as root of the host, not inside a container; if a security module forbids ptrace there, too, take the next cure.',
    },
    zh: {
      meaning: '无权查看或跟踪该进程：不是 root、容器没有 CAP_SYS_PTRACE、kernel.yama.ptrace_scope=3，或有安全模块。',
      next: '请在主机上以 root 运行，不要在容器内运行；如果安全模块在那里也禁止 ptrace，请采用下一种办法。',
    },
  },
  RESCUE_FOREIGN: {
    en: {
      meaning:
        'The engine, or its decompressor, runs as a user who is neither root nor you: anybody may call a program of his like an engine.',
      next: 'Run it as the user whose engine it is, if you know that it is one.',
    },
    zh: {
      meaning: '引擎或其解压程序的用户既不是 root 也不是您：任何人都可以给自己的程序取引擎的名字。',
      next: '如果确定它是引擎，请以它所属的用户运行该命令。',
    },
  },
  RESCUE_TRACED: {
    en: {
      meaning: 'Somebody else traces the process (gdb, strace, a security agent), and a process has one tracer.',
      next: 'End the tracer, and run the command again.',
    },
    zh: {
      meaning: '该进程正被其他程序跟踪（gdb、strace、安全代理），而一个进程只能有一个跟踪者。',
      next: '结束跟踪者，再次运行该命令。',
    },
  },
  RESCUE_IN_KERNEL: {
    en: {
      meaning:
        'A thread of the process does not stop: the kernel holds it (state D). Nobody can end it before the kernel lets it go.',
      next: 'Look for a disk, network filesystem or security agent that does not answer: windlass doctor -v.',
    },
    zh: {
      meaning: '该进程有线程停不下来：内核占着它（状态 D）。在内核放开之前谁也无法结束它。',
      next: '查找没有应答的磁盘、网络文件系统或安全代理：windlass doctor -v。',
    },
  },
  RESCUE_ARCHITECTURE: {
    en: {
      meaning: 'The process is no 64-bit program of this machine (x86-64 or arm64): how to make it leave is not known.',
      next: killIt.en,
    },
    zh: { meaning: '该进程不是本机的 64 位程序（x86-64 或 arm64）：不知道如何让它退出。', next: killIt.zh },
  },
  RESCUE_OUTPUT_CLOSED: {
    en: {
      meaning:
        'It has closed its output before it had given all of the layer. The engine has seen the end of the stream: nobody reads there any more.',
      next: killIt.en,
    },
    zh: { meaning: '它在给出整个层之前就关闭了输出。引擎已看到流的结尾：那里不再有人读取。', next: killIt.zh },
  },
  RESCUE_PIPE_SHARED: {
    en: {
      meaning:
        'Another process, which does not belong to the decompressor, can write to its output, too: the engine would wait for that one as well.',
      next: killIt.en,
    },
    zh: { meaning: '另一个不属于该解压程序的进程也能写入它的输出：引擎还会等待那个进程。', next: killIt.zh },
  },
  RESCUE_CONSUMER_BUSY: {
    en: {
      meaning:
        'What it has written has not been taken yet: whoever unpacks is slow or stands still itself, and what is owed cannot be told to the byte.',
      next: 'Wait a moment and run the command again; if it stays so, the one that unpacks holds up the pull: windlass doctor -v.',
    },
    zh: {
      meaning: '它写出的数据还没有被取走：解包的一方很慢或自己停滞，欠缺多少无法精确到字节。',
      next: '稍等后再次运行该命令；如果仍然如此，则是解包的一方阻塞了拉取：windlass doctor -v。',
    },
  },
  RESCUE_MOVES: {
    en: {
      meaning: 'The decompressor, or the engine behind it, went on while it was looked at: it is not stuck.',
      next: 'Let it work. If it stands still later, run the command again.',
    },
    zh: {
      meaning: '在查看期间解压程序或其后的引擎有了进展：它没有卡住。',
      next: '让它继续工作。如果之后停滞，请再次运行该命令。',
    },
  },
  RESCUE_NO_LAYER: {
    en: {
      meaning:
        'The compressed bytes of the layer are not to be had: the engine has no file open that holds them, or none that holds what waits in the input of the decompressor; or it is not seen that the decompressor was given these, and not those of another layer or of what is no layer at all.',
      next: `If you have not named the image: windlass doctor --rescue --image REF, so that the layer comes from its registry. Or: ${bringIn.en}`,
    },
    zh: {
      meaning:
        '得不到该层的压缩数据：引擎没有打开任何含有它的文件，或者其中都没有解压程序输入中等待的数据；或者无法确认解压程序得到的就是该层的数据，而不是另一个层或根本不是层的数据。',
      next: `如果尚未指明镜像：windlass doctor --rescue --image REF，使该层从其镜像仓库获取。或者：${bringIn.zh}`,
    },
  },
  RESCUE_LAYER_DAMAGED: {
    en: {
      meaning: 'No file that may hold the layer can be decoded to its end, or it is not what its digest says.',
      next: bringIn.en,
    },
    zh: { meaning: '可能含有该层的文件都无法解压到结尾，或与其摘要不符。', next: bringIn.zh },
  },
  RESCUE_LAYER_UNCLEAR: {
    en: { meaning: 'More than one layer may be the one that this decompressor works on.', next: bringIn.en },
    zh: { meaning: '该解压程序所处理的可能是多个层之一，无法确定。', next: bringIn.zh },
  },
  RESCUE_POSITION_UNPROVEN: {
    en: {
      meaning: 'It cannot be proven to the byte how much of the layer the engine has been given.',
      next: bringIn.en,
    },
    zh: { meaning: '无法精确到字节地证明引擎已经得到了该层的多少数据。', next: bringIn.zh },
  },
  RESCUE_PREFIX_DIFFERS: {
    en: {
      meaning:
        'What the engine has unpacked is not what stands in the layer at that place: the decompressor gave wrong bytes before it got stuck, or it is another layer.',
      next: killIt.en,
    },
    zh: {
      meaning: '引擎已解包的内容与该层在那个位置的内容不同：解压程序在卡住之前给出了错误的字节，或者这是另一个层。',
      next: killIt.zh,
    },
  },
  RESCUE_WRITER_LOST: {
    en: {
      meaning:
        'An earlier rescue was broken off, and the process that wrote for it still works, or was killed, too, or its journal is not here: how many bytes it gave is not known.',
      next: `If it still works, wait and run the command again. If not: ${killIt.en}`,
    },
    zh: {
      meaning:
        '先前的一次救援中断了，而为它写数据的进程仍在工作，或也被结束了，或它的日志不在这里：它给出了多少字节无从得知。',
      next: `如果它仍在工作，请等待后再次运行该命令。否则：${killIt.zh}`,
    },
  },
  RESCUE_UNDER_WAY: {
    en: {
      meaning: 'Another windlass is at work on this process, perhaps the service.',
      next: 'Wait for its end, and run the command again.',
    },
    zh: { meaning: '另一个 windlass（可能是服务）正在处理该进程。', next: '等它结束后再次运行该命令。' },
  },
} as const satisfies Record<string, Readonly<Record<Language, Words>>>

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
