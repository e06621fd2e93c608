// NVRTC for tests: it compiles a kernel's very text for the emulator, by the host's C++ compiler. What it gives for a cubin is a
// library of the host's. What was compiled lies in the folder VITX_SIMULATED_MODULES, by its text, and is not compiled again.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

enum { SUCCESS = 0, INVALID_INPUT = 3, INVALID_OPTION = 5, COMPILATION = 6, INTERNAL = 11 };

struct Program {
    std::string text, name, log, image;
    std::map<std::string, std::string> headers;
};

const char* const OPTIONS = " -std=c++17 -O1 -w -fPIC -fno-exceptions -fno-strict-aliasing -ffp-contract=off -U_FORTIFY_SOURCE";

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// FNV-1a, twice: a name for a text.
std::string named(const std::string& text) {
    uint64_t one = 0xcbf29ce484222325, two = 0x84222325cbf29ce4;
    for (unsigned char byte : text) one = (one ^ byte) * 0x100000001b3, two = (two ^ (byte + 1)) * 0x100000001b3;
    char name[40];
    snprintf(name, sizeof name, "%016llx%016llx", (unsigned long long)one, (unsigned long long)two);
    return name;
}

std::string variable(const char* name, const char* otherwise) {
    const char* value = getenv(name);
    return value && *value ? value : otherwise;
}

}  // namespace

extern "C" {

int nvrtcVersion(int* major, int* minor) {
    *major = atoi(variable("VITX_SIMULATED_LIBRARIES", "13").c_str()), *minor = 0;
    return SUCCESS;
}
const char* nvrtcGetErrorString(int error) { return error == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "an error of the simulated NVRTC"; }

int nvrtcCreateProgram(Program** program, const char* text, const char* name, int count, const char* const* texts, const char* const* names) {
    *program = new Program;
    (*program)->text = text, (*program)->name = name;
    for (int at = 0; at < count; at++) (*program)->headers[names[at]] = texts[at];
    return SUCCESS;
}
int nvrtcDestroyProgram(Program** program) {
    delete *program;
    *program = nullptr;
    return SUCCESS;
}

int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    // As the emulator's tests put it together: emulator, definitions, and the kernels in a namespace of their own.
    std::string text = "#include \"emulator.h\"\n#include \"instructions.h\"\n";
    for (int at = 0; at < count; at++) {
        std::string option = options[at];
        size_t equals = option.find('=');
        if (option.rfind("-D", 0) == 0 && equals != std::string::npos)
            text += "#define " + option.substr(2, equals - 2) + " " + option.substr(equals + 1) + "\n";
        else if (option != "--gpu-architecture=sm_90" && option != "--std=c++17")
            return program->log = "the simulated NVRTC does not know " + option, INVALID_OPTION;
    }
    text += "namespace {\n" + program->text + "\n}\n";
    for (size_t at = program->text.find("\nKERNEL "); at != std::string::npos; at = program->text.find("\nKERNEL ", at + 1)) {
        size_t from = at + 8;
        if (program->text.compare(from, 17, "__launch_bounds__") == 0) from = program->text.find(')', from) + 2;
        text += "EMULATED_ENTRY(" + program->text.substr(from, program->text.find('(', from) - from) + ")\n";
    }
    std::string whole = text + OPTIONS;
    for (auto& [name, header] : program->headers) whole += name + header;
    for (const char* name : {"emulator.h", "instructions.h"}) whole += read(std::string(EMULATOR) + "/" + name);
    std::string folder = variable("VITX_SIMULATED_MODULES", "/tmp/vitx-simulated-modules"), kept = folder + "/" + named(whole) + ".so";
    mkdir(folder.c_str(), 0700);
    program->image = read(kept);
    if (!program->image.empty()) return SUCCESS;
    std::string making = folder + "/making-XXXXXX";
    if (!mkdtemp(making.data())) return program->log = "there is no folder " + folder, INTERNAL;
    for (auto& [name, header] : program->headers) write(making + "/" + name, header);
    for (const char* name : {"emulator.h", "instructions.h"}) write(making + "/" + name, read(std::string(EMULATOR) + "/" + name));
    write(making + "/kernel.cpp", text);
    std::string compiler = variable("CXX", "c++"), quiet = " >>log 2>&1";
    std::string command = "cd '" + making + "' && " + compiler + OPTIONS + " -c -o kernel.o kernel.cpp" + quiet + " && " + compiler +
                          " -shared -nostartfiles -o kernel.so kernel.o" + quiet;
    int status = system(command.c_str());
    program->log = read(making + "/log");
    if (status == 0) {
        program->image = read(making + "/kernel.so");
        rename((making + "/kernel.so").c_str(), kept.c_str());
    }
    command = "rm -rf '" + making + "'";
    if (system(command.c_str()) != 0 || status != 0) return COMPILATION;
    return SUCCESS;
}
int nvrtcGetProgramLogSize(Program* program, size_t* size) { *size = program->log.size() + 1; return SUCCESS; }
int nvrtcGetProgramLog(Program* program, char* log) { memcpy(log, program->log.c_str(), program->log.size() + 1); return SUCCESS; }
int nvrtcGetCUBINSize(Program* program, size_t* size) { *size = program->image.size(); return SUCCESS; }
int nvrtcGetCUBIN(Program* program, char* image) { memcpy(image, program->image.data(), program->image.size()); return SUCCESS; }

}  // extern "C"
